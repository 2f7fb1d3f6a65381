package run

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// eventLog is a file of JSON lines that grows at its end.
type eventLog struct {
	path   string
	file   *os.File
	length int64 // the bytes of its whole lines
	failed error // set when the file may end in part of a line: nothing may be put after it
}

// openLog opens a log, and creates an empty one where there is none. It must hold a checkpoint's whole lines.
func openLog(path string, length int64) (*eventLog, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, err
	}
	log := &eventLog{path: path, file: file, length: length}
	if err := log.check(); err != nil {
		file.Close()
		return nil, err
	}
	return log, nil
}

func (l *eventLog) check() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < l.length {
		return fmt.Errorf("%s: has %d bytes, the checkpoint counts %d; put back what was removed", l.path, info.Size(), l.length)
	}
	if l.length == 0 {
		return nil
	}
	var last [1]byte
	if _, err := l.file.ReadAt(last[:], l.length-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		return fmt.Errorf("%s: no line ends at byte %d, where the checkpoint counts one; undo what was edited", l.path, l.length)
	}
	return nil
}

// append writes one line by one call, so that a kill cuts off the last line at most. Part of a line, left by a full
// disk, is taken back.
func (l *eventLog) append(value any) error {
	if l.failed != nil {
		return l.failed
	}
	line, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("append to %s: %w", l.path, err)
	}
	line = append(line, '\n')
	if _, err := l.file.Write(line); err != nil {
		if undo := l.file.Truncate(l.length); undo != nil {
			l.failed = fmt.Errorf("%w; and then: %w", err, undo)
		}
		return err // names the path
	}
	l.length += int64(len(line))
	return nil
}

// openLogs opens both logs and takes them back to these lengths: the lines after that, and a last line that was cut off,
// belong to steps that the run is about to do again. Neither is touched unless both are good.
func (f *Folder) openLogs(metrics, genotypes int64) error {
	if err := f.closeLogs(); err != nil {
		return err
	}
	first, err := openLog(filepath.Join(f.path, metricsName), metrics)
	if err != nil {
		return err
	}
	second, err := openLog(filepath.Join(f.path, genotypesName), genotypes)
	if err != nil {
		first.file.Close()
		return err
	}
	f.metrics, f.genotypes = first, second
	for _, log := range []*eventLog{first, second} {
		if err := log.file.Truncate(log.length); err != nil {
			f.closeLogs()
			return err
		}
	}
	return nil
}

func (f *Folder) closeLogs() error {
	if f.metrics == nil {
		return nil
	}
	err := cmp.Or(f.metrics.file.Close(), f.genotypes.file.Close())
	f.metrics, f.genotypes = nil, nil
	return err
}
