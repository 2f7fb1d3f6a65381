package run

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/internal/atomicfile"
)

const (
	tensorsName = "tensors.safetensors"
	stateName   = "state.json"
	kept        = 2 // checkpoints: should the newest be damaged, there is one to fall back to
)

// ErrNoCheckpoint is Latest's error for a run that has not saved a checkpoint yet.
var ErrNoCheckpoint = errors.New("no checkpoint has been saved yet")

// Checkpoint is the run as it stood after a step.
type Checkpoint struct {
	Step    int64
	Tensors *safetensors.File
	State   json.RawMessage

	name                         string // of its folder
	metricsBytes, genotypesBytes int64
}

// DecodeState reads the state into the value pointed to; a field that the value does not have is an error.
func (c *Checkpoint) DecodeState(into any) error {
	if err := decodeStrict(c.State, into); err != nil {
		return fmt.Errorf("checkpoint of step %d: %s: state: %w", c.Step, stateName, err)
	}
	return nil
}

// SaveCheckpoint publishes the run as it stands after a step, and then removes all but the last two checkpoints. Steps
// only go up. Saving the last step again replaces its checkpoint. On an error the checkpoints of before are all there.
func (f *Folder) SaveCheckpoint(step int64, tensors []safetensors.Tensor, metadata map[string]string, state any) error {
	action := fmt.Sprintf("save the checkpoint of step %d", step)
	if err := f.going(action); err != nil {
		return err
	}
	if err := f.save(step, tensors, metadata, state); err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	// The new checkpoint is there; that an old one cannot be removed is no reason to stop the run.
	if err := f.prune(); err != nil {
		slog.Warn("old checkpoints stay", "run", f.path, "error", err)
	}
	return nil
}

func (f *Folder) save(step int64, tensors []safetensors.Tensor, metadata map[string]string, state any) error {
	places, err := f.places()
	if err != nil {
		return err
	}
	if step < 0 {
		return errors.New("a step is not negative")
	}
	if len(places) > 0 && step < places[0].step {
		return fmt.Errorf("%s is at step %d already", f.path, places[0].step)
	}
	payload, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("%s: %w", stateName, err)
	}
	for _, log := range []*eventLog{f.metrics, f.genotypes} {
		if err := log.file.Sync(); err != nil {
			return err
		}
	}
	target := place{step: step}
	dir, err := atomicfile.CreateDir(f.checkpointPath(target.name()))
	if err != nil {
		return err
	}
	defer dir.Abort()
	r := record{Format: stateFormat, Step: step, MetricsBytes: f.metrics.length, GenotypesBytes: f.genotypes.length, State: payload}
	if err := writeCheckpoint(dir, r, tensors, metadata); err != nil {
		return err
	}
	if len(places) > 0 && places[0] == target {
		return f.replace(dir, target)
	}
	return dir.Commit()
}

func writeCheckpoint(dir *atomicfile.Dir, r record, tensors []safetensors.Tensor, metadata map[string]string) error {
	hash := sha256.New()
	err := dir.Write(tensorsName, func(w io.Writer) error {
		return safetensors.Encode(io.MultiWriter(w, hash), tensors, metadata)
	})
	if err != nil {
		return err
	}
	r.TensorsSHA256 = hex.EncodeToString(hash.Sum(nil))
	return dir.Write(stateName, func(w io.Writer) error {
		text, err := r.encode()
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
}

// replace publishes a checkpoint in the place of one of the same step. A folder cannot take the name of another in one
// step, so the other steps aside under a name that readers know: one of the two is there at any instant.
func (f *Folder) replace(dir *atomicfile.Dir, target place) error {
	path := f.checkpointPath(target.name())
	aside := f.checkpointPath(place{target.step, replaced}.name())
	if err := os.RemoveAll(aside); err != nil { // one that could not be pruned
		return err
	}
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	err := dir.Commit()
	if err != nil {
		if undo := os.Rename(aside, path); undo != nil {
			return fmt.Errorf("%w; and then: %w", err, undo)
		}
	}
	return err
}

// prune removes all but the newest checkpoints.
func (f *Folder) prune() error {
	places, err := f.allPlaces()
	if err != nil {
		return err
	}
	whole := 0
	for _, p := range places {
		if p.fate == current {
			if whole++; whole <= kept {
				continue
			}
		}
		if err := atomicfile.RemoveDir(f.checkpointPath(p.name())); err != nil {
			return err
		}
	}
	return nil
}

// Latest reads the newest checkpoint that is whole. One that is damaged is reported through slog and passed over. It
// changes nothing in the folder; a run that goes on wants Resume.
func (f *Folder) Latest() (*Checkpoint, error) {
	places, err := f.places()
	for {
		if err != nil {
			return nil, err
		}
		checkpoint, failure := f.newestWhole(places)
		if failure == nil {
			return checkpoint, nil
		}
		// A reader may have been overtaken by the writer, which publishes and removes; then there is a newer one.
		before := places
		if places, err = f.places(); err == nil && slices.Equal(before, places) {
			return nil, failure
		}
	}
}

func (f *Folder) newestWhole(places []place) (*Checkpoint, error) {
	if len(places) == 0 {
		return nil, fmt.Errorf("%s: %w", f.path, ErrNoCheckpoint)
	}
	var failures []string
	for _, p := range places {
		checkpoint, err := f.read(p)
		if err == nil {
			return checkpoint, nil
		}
		failures = append(failures, err.Error())
		if _, gone := os.Stat(f.checkpointPath(p.name())); gone == nil {
			slog.Warn("a damaged checkpoint is passed over", "run", f.path, "error", err)
		}
	}
	return nil, fmt.Errorf("%s has no checkpoint that is whole: %s", f.path, strings.Join(failures, "; "))
}

// read reads a checkpoint and checks all of it.
func (f *Folder) read(p place) (*Checkpoint, error) {
	path := f.checkpointPath(p.name())
	text, err := os.ReadFile(filepath.Join(path, stateName))
	if err != nil {
		return nil, err
	}
	r, err := parseRecord(text)
	if err == nil && r.Step != p.step {
		err = fmt.Errorf("is of step %d", r.Step)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, stateName), err)
	}
	content, err := os.ReadFile(filepath.Join(path, tensorsName))
	if err != nil {
		return nil, err
	}
	if hexSum(content) != r.TensorsSHA256 {
		return nil, fmt.Errorf("%s: is damaged: its checksum is not the one in %s", filepath.Join(path, tensorsName), stateName)
	}
	tensors, err := safetensors.Parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, tensorsName), err)
	}
	return &Checkpoint{
		Step: r.Step, Tensors: tensors, State: bytes.Clone(r.State),
		name: p.name(), metricsBytes: r.MetricsBytes, genotypesBytes: r.GenotypesBytes,
	}, nil
}

// Resume answers with Latest's checkpoint and makes the run ready to go on from it: both logs are taken back to where
// they stood, what a kill left unfinished is removed, and checkpoints found damaged are set aside until the next one is
// saved. A run that was stopped before its first checkpoint starts anew: found is false and its logs are empty.
func (f *Folder) Resume() (checkpoint *Checkpoint, found bool, err error) {
	if f.lock == nil {
		return nil, false, f.readOnly("resume")
	}
	if err := f.tidy(); err != nil {
		return nil, false, err
	}
	checkpoint, err = f.Latest()
	if errors.Is(err, ErrNoCheckpoint) {
		return nil, false, f.openLogs(0, 0)
	}
	if err != nil {
		return nil, false, err
	}
	if err := f.openLogs(checkpoint.metricsBytes, checkpoint.genotypesBytes); err != nil {
		return nil, false, err
	}
	if err := f.settle(checkpoint); err != nil {
		f.closeLogs()
		return nil, false, err
	}
	return checkpoint, true, nil
}

// tidy removes temporaries, and brings back the folder for checkpoints should it be gone.
func (f *Folder) tidy() error {
	checkpoints := filepath.Join(f.path, checkpointsName)
	if err := os.MkdirAll(checkpoints, 0o777); err != nil {
		return err
	}
	if err := atomicfile.Clean(f.path); err != nil {
		return err
	}
	return atomicfile.Clean(checkpoints)
}

// settle leaves the checkpoint that was taken as the newest one, under its plain name.
func (f *Folder) settle(taken *Checkpoint) error {
	places, err := f.places()
	if err != nil {
		return err
	}
	for _, p := range places {
		if p.name() == taken.name {
			break
		}
		aside := f.checkpointPath(place{p.step, damaged}.name())
		if err := os.RemoveAll(aside); err != nil {
			return err
		}
		if err := os.Rename(f.checkpointPath(p.name()), aside); err != nil {
			return err
		}
	}
	plainName := place{step: taken.Step}.name()
	if taken.name != plainName {
		if err := os.Rename(f.checkpointPath(taken.name), f.checkpointPath(plainName)); err != nil {
			return err
		}
		taken.name = plainName
	}
	// Killed between replacing a checkpoint and removing the one replaced.
	leftover := f.checkpointPath(place{taken.Step, replaced}.name())
	if err := atomicfile.RemoveDir(leftover); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncDir(filepath.Join(f.path, checkpointsName))
}

func (f *Folder) checkpointPath(name string) string {
	return filepath.Join(f.path, checkpointsName, name)
}
