//go:build unix

package run

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartsc/dartsc/darts/safetensors"
	"github.com/dartsc/dartsc/internal/atomicfile"
)

const childFolder = "DARTSC_RUN_TEST_FOLDER" // set in a child: the run folder it works in

// child starts this test again in a process of its own.
func child(t *testing.T, path string) *exec.Cmd {
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	command.Env = append(os.Environ(), childFolder+"="+path)
	return command
}

func metricsLine(step int64) string  { return fmt.Sprintf("{\"step\":%d}\n", step) }
func genotypeLine(step int64) string { return fmt.Sprintf("{\"genotype\":%d}\n", step) }

// TestKilledAtAnyInstant kills a run twenty times at a random moment, at the start and while it writes, and holds what
// is left against the promise: the newest checkpoint reads, and the logs, once taken back, hold each line once.
func TestKilledAtAnyInstant(t *testing.T) {
	if path := os.Getenv(childFolder); path != "" {
		runUntilKilled(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "run")
	var reached int64
	for i := range 20 {
		command := child(t, path)
		var output bytes.Buffer
		command.Stdout, command.Stderr = &output, &output
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		command.Process.Kill()
		command.Wait()
		if output.Len() > 0 {
			t.Fatalf("kill %d: the child failed: %s", i, &output)
		}
		reached = checkAfterKill(t, path, reached)
	}
	if reached == 0 {
		t.Error("the child never came to a checkpoint")
	}
	t.Logf("reached step %d", reached)
}

// runUntilKilled does what a search does: two steps to a checkpoint, and a line in each log a step.
func runUntilKilled(t *testing.T, path string) {
	f, err := Open(path)
	step := int64(0)
	if err != nil {
		f, err = Create(path, testConfig{})
	} else {
		var checkpoint *Checkpoint
		var found bool
		if checkpoint, found, err = f.Resume(); found {
			step = checkpoint.Step
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		step++
		err := f.AppendMetrics(map[string]int64{"step": step})
		if err == nil {
			err = f.AppendGenotype(map[string]int64{"genotype": step})
		}
		if err == nil && step%2 == 0 {
			err = f.SaveCheckpoint(step, weights(step), nil, testState{int(step)})
		}
		if err == nil && step%6 == 0 { // the last step again
			err = f.SaveCheckpoint(step, weights(step), nil, testState{int(step)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkAfterKill(t *testing.T, path string, before int64) int64 {
	t.Helper()
	logged := warnings(t)
	f, err := Open(path)
	if err != nil {
		if _, missing := os.Stat(filepath.Join(path, configName)); errors.Is(missing, fs.ErrNotExist) && before == 0 {
			return 0 // killed before the run was there
		}
		t.Fatal(err)
	}
	defer f.Close()
	latest, err := f.Latest()
	if errors.Is(err, ErrNoCheckpoint) && before == 0 {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, found, err := f.Resume()
	if err != nil || !found || checkpoint.Step != latest.Step {
		t.Fatalf("Resume: %v, %v; Latest answered step %d", found, err, latest.Step)
	}
	if checkpoint.Step < before {
		t.Fatalf("at step %d, was at %d before", checkpoint.Step, before)
	}
	wantCheckpoint(t, checkpoint, checkpoint.Step)
	var metrics, genotypes strings.Builder
	for step := int64(1); step <= checkpoint.Step; step++ {
		metrics.WriteString(metricsLine(step))
		genotypes.WriteString(genotypeLine(step))
	}
	wantFile(t, f, metricsName, metrics.String())
	wantFile(t, f, genotypesName, genotypes.String())
	wantNoTemporaries(t, path)
	if logged.Len() > 0 {
		t.Errorf("a kill is not damage, but: %s", logged)
	}
	return checkpoint.Step
}

func wantNoTemporaries(t *testing.T, path string) {
	t.Helper()
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if atomicfile.IsTemporary(entry.Name()) {
			t.Errorf("left over: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk lets a child run against RLIMIT_FSIZE, which fails at the same call as a full disk does.
func TestFullDisk(t *testing.T) {
	const limit = 4096
	if path := os.Getenv(childFolder); path != "" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			t.Fatal(err)
		}
		fillDisk(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "run")
	if output, err := child(t, path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	wantNoTemporaries(t, path)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wantCheckpoints(t, f, "0000000001", "0000000002")
	checkpoint, found, err := f.Resume()
	if err != nil || !found {
		t.Fatal(found, err)
	}
	wantCheckpoint(t, checkpoint, 2)
	wantFile(t, f, metricsName, "{\"n\":1}\n{\"n\":2}\n")
}

func fillDisk(t *testing.T, path string) {
	f, err := Create(path, testConfig{})
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 10000)
	appendLines(t, f, 1)
	save(t, f, 1)
	wantError(t, f.AppendMetrics(large), metricsName, syscall.EFBIG.Error())
	appendLines(t, f, 2) // what fits still goes in, after whole lines only
	wantFile(t, f, metricsName, "{\"n\":1}\n{\"n\":2}\n")
	save(t, f, 2)
	tensors := []safetensors.Tensor{safetensors.FromUint8s("w", []int{10000}, []byte(large))}
	for _, step := range []int64{2, 3} { // in the place of another, and beside it
		wantError(t, f.SaveCheckpoint(step, tensors, nil, nil), tensorsName, syscall.EFBIG.Error())
		wantError(t, f.SaveCheckpoint(step, nil, nil, large), stateName, syscall.EFBIG.Error())
	}
	wantError(t, f.WriteFile("model.onnx", []byte(large)), "model.onnx", syscall.EFBIG.Error())
	if _, err := os.Stat(filepath.Join(path, "model.onnx")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("part of model.onnx is there (%v)", err)
	}
}
