// Package run keeps the folder of a search or a training: its configuration, its logs, its checkpoints and its results.
//
//	config.json             what the run was asked to do, written once
//	metrics.jsonl           one JSON line an event
//	genotypes.jsonl         one JSON line an epoch
//	checkpoints/0000000042/ tensors.safetensors and state.json after step 42; the last two are kept
//	genotype.json, normal.svg, reduction.svg, model.onnx, results.json, … what the run leaves
//
// The promise is that a run killed at any instant, or stopped by a full disk, goes on exactly: Resume answers with the
// newest checkpoint that is whole and takes both logs back to where they stood then, so that every line is there once.
// To keep it, everything but the logs is written under a temporary name, synced and renamed; the logs are only ever
// appended to, and are synced before the checkpoint that counts their bytes is published.
//
// The package knows nothing of what runs. Configuration, log lines and state are any values that JSON can hold, and the
// payload is tensors. Start reading at Folder.
package run

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/internal/atomicfile"
)

const (
	configName      = "config.json"
	metricsName     = "metrics.jsonl"
	genotypesName   = "genotypes.jsonl"
	checkpointsName = "checkpoints"
	lockName        = ".lock"
)

// ErrInUse is the error of a run folder that another process writes.
var ErrInUse = errors.New("the run is in use by another process")

// Folder is an open run folder. One writer has it at a time; any number of processes may read it meanwhile, through
// OpenReadOnly. A Folder is not for use by several goroutines at once.
//
// A new run is Create, then AppendMetrics, AppendGenotype and SaveCheckpoint as it goes, WriteFile for its results, and
// Close. A run that was stopped goes on with Open and Resume in place of Create.
type Folder struct {
	path      string
	lock      *os.File  // nil when read-only
	metrics   *eventLog // nil before Resume
	genotypes *eventLog
}

// Create begins a run in a folder that does not exist, or is empty, and writes the configuration into it.
func Create(path string, config any) (*Folder, error) {
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, configName), err)
	}
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, fmt.Errorf("create the run folder: %w", err)
	}
	// Nothing, not even the lock, may be left in a folder that is not ours.
	if err := refuseFull(path); err != nil {
		return nil, err
	}
	f, err := lockFolder(path)
	if err != nil {
		return nil, err
	}
	if err := f.begin(append(text, '\n')); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// begin lays the folder out. The configuration comes last: a folder that has one is a whole run folder.
func (f *Folder) begin(config []byte) error {
	if err := refuseFull(f.path); err != nil { // another process was faster
		return err
	}
	if err := atomicfile.Clean(f.path); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(f.path, checkpointsName), 0o777); err != nil {
		return fmt.Errorf("create the run folder: %w", err)
	}
	if err := f.openLogs(0, 0); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(f.path, configName), config); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(filepath.Clean(f.path)))
}

// refuseFull is an error unless the folder is empty. What a Create leaves behind that was killed before it had written
// the configuration counts as empty: there was no run yet.
func refuseFull(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("create the run folder: %w", err)
	}
	for _, entry := range entries {
		if !isUnbegun(filepath.Join(path, entry.Name()), entry) {
			return fmt.Errorf("%s exists and is not empty: choose another --save, or go on with it by --resume %s", path, path)
		}
	}
	return nil
}

func isUnbegun(path string, entry fs.DirEntry) bool {
	switch name := entry.Name(); name {
	case lockName:
		return true
	case metricsName, genotypesName:
		info, err := entry.Info()
		return err == nil && info.Size() == 0
	case checkpointsName:
		inside, err := os.ReadDir(path)
		return err == nil && len(inside) == 0
	default:
		return atomicfile.IsTemporary(name)
	}
}

// Open opens a run folder for writing. To go on with the run, Resume it; results can be written without.
func Open(path string) (*Folder, error) {
	if err := isRunFolder(path); err != nil {
		return nil, err
	}
	return lockFolder(path)
}

// OpenReadOnly opens a run folder for Config and Latest only, also while another process writes it.
func OpenReadOnly(path string) (*Folder, error) {
	if err := isRunFolder(path); err != nil {
		return nil, err
	}
	return &Folder{path: path}, nil
}

func isRunFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("open the run folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a run folder: it is a file", path)
	}
	if _, err := os.Stat(filepath.Join(path, configName)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is not a run folder: it has no %s", path, configName)
		}
		return fmt.Errorf("open the run folder: %w", err)
	}
	return nil
}

func lockFolder(path string) (*Folder, error) {
	file, err := acquire(filepath.Join(path, lockName))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Folder{path: path, lock: file}, nil
}

// Close gives the folder free for other processes, as the death of this one does.
func (f *Folder) Close() error {
	err := f.closeLogs()
	if f.lock != nil {
		err = cmp.Or(err, f.lock.Close())
		f.lock = nil
	}
	return err
}

// Path is where the folder is.
func (f *Folder) Path() string { return f.path }

// Config reads the configuration into the value pointed to; a field that the value does not have is an error.
func (f *Folder) Config(into any) error {
	path := filepath.Join(f.path, configName)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := decodeStrict(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// WriteFile writes one result into the folder, or replaces it. The name is that of a plain file, not one of those that
// the package keeps itself.
func (f *Folder) WriteFile(name string, data []byte) error {
	if f.lock == nil {
		return f.readOnly("write " + name)
	}
	own := []string{configName, metricsName, genotypesName, checkpointsName}
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") || strings.ContainsAny(name, `/\:`) || slices.Contains(own, name) {
		return fmt.Errorf("write %q into %s: want a plain file name that the run folder does not use itself", name, f.path)
	}
	return atomicfile.Write(filepath.Join(f.path, name), data)
}

// AppendMetrics adds one line to metrics.jsonl. The line has left the process when the call returns.
func (f *Folder) AppendMetrics(line any) error {
	if err := f.going("append to " + metricsName); err != nil {
		return err
	}
	return f.metrics.append(line)
}

// AppendGenotype adds one line to genotypes.jsonl. The line has left the process when the call returns.
func (f *Folder) AppendGenotype(line any) error {
	if err := f.going("append to " + genotypesName); err != nil {
		return err
	}
	return f.genotypes.append(line)
}

// going is an error unless the run is new or resumed: only then is it known where its logs stand.
func (f *Folder) going(action string) error {
	if f.lock == nil {
		return f.readOnly(action)
	}
	if f.metrics == nil {
		return fmt.Errorf("%s of %s: the run was opened and not resumed", action, f.path)
	}
	return nil
}

func (f *Folder) readOnly(action string) error {
	return fmt.Errorf("%s of %s: the run is closed, or was opened for reading only", action, f.path)
}
