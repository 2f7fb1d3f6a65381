package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// tiny is a search of 6 epochs of 15 steps.
var tiny = []string{"--init-channels", "2", "--layers", "1", "--epochs", "6", "--batch-size", "4", "--report-freq", "4", "--checkpoint-interval", "50ms"}

// uninterrupted is a folder with the data of makeData and the run that nothing interrupted.
type uninterrupted struct {
	*testing.T
	folder string
	whole  map[string][]byte
	took   time.Duration
}

func newUninterrupted(t *testing.T) *uninterrupted {
	b := &uninterrupted{T: t, folder: t.TempDir()}
	if err := makeData(b.folder); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	b.search("whole", tiny...)
	b.took = time.Since(start)
	b.whole = b.final("whole")
	return b
}

func (b *uninterrupted) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command("dartsc", append([]string{"run", "search"}, args...)...)
	cmd.Dir = b.folder
	output := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = output, output
	return cmd, output
}

// search runs a new search to its end.
func (b *uninterrupted) search(run string, args ...string) {
	b.Helper()
	cmd, output := b.command(append([]string{"--data", "images", "--save", run}, args...)...)
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", run, err, output)
	}
}

// goOn is the command that begins a run, or goes on with it where it has begun.
func (b *uninterrupted) goOn(run string) (*exec.Cmd, *bytes.Buffer) {
	if _, err := os.Stat(filepath.Join(b.folder, run, "config.json")); err == nil {
		return b.command("--resume", run, "--checkpoint-interval", "50ms")
	}
	return b.command(append([]string{"--data", "images", "--save", run}, tiny...)...)
}

// final reads what a run must leave in the same bytes: its last checkpoint, logs and results.
func (b *uninterrupted) final(run string) map[string][]byte {
	b.Helper()
	files := map[string][]byte{}
	checkpoints, err := os.ReadDir(filepath.Join(b.folder, run, "checkpoints"))
	if err != nil || len(checkpoints) == 0 {
		b.Fatalf("%s: checkpoints %v, error %v", run, checkpoints, err)
	}
	last := "checkpoints/" + checkpoints[len(checkpoints)-1].Name()
	for _, name := range []string{
		last + "/tensors.safetensors", last + "/state.json", "config.json", "metrics.jsonl", "genotypes.jsonl",
		"genotype.json", "normal.svg", "reduction.svg", "model.onnx",
	} {
		content, err := os.ReadFile(filepath.Join(b.folder, run, filepath.FromSlash(name)))
		if err != nil {
			b.Fatal(err)
		}
		files[name] = content
	}
	return files
}

// check compares a run with the whole one.
func (b *uninterrupted) check(run string) {
	b.Helper()
	got := b.final(run)
	for name, want := range b.whole {
		content, ok := got[name]
		if !ok {
			b.Errorf("%s has no %s", run, name)
		} else if !bytes.Equal(content, want) {
			b.Errorf("%s: %s differs from the run that was not interrupted\ngot:  %.300q\nwant: %.300q", run, name, content, want)
		}
	}
}

// TestKilled kills a search at random moments and resumes it each time: it ends with the same bits as one that was not
// killed. DARTSC_KILLS says how often.
func TestKilled(t *testing.T) {
	kills := 3
	if text := os.Getenv("DARTSC_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("DARTSC_KILLS: %v", err)
		}
	}
	b := newUninterrupted(t)
	seed := rand.Uint64()
	t.Logf("moments of seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for killed < kills {
		run := fmt.Sprintf("killed%d", killed)
		for ended := false; !ended; {
			cmd, output := b.goOn(run)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if killed < kills {
				// Mostly before the end, now and then after it.
				timer := time.AfterFunc(time.Duration(random.Float64()*float64(b.took)), func() { cmd.Process.Kill() })
				defer timer.Stop()
			}
			err := cmd.Wait()
			switch exit, failed := errors.AsType[*exec.ExitError](err); {
			case err == nil:
				ended = true
			case failed && exit.ExitCode() == -1:
				killed++
			default:
				t.Fatalf("%s after %d kills: %v\n%s", run, killed, err, output)
			}
		}
		b.check(run)
	}
}

// TestInterrupted: the first signal saves, and says how to go on.
func TestInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be sent an interrupt on Windows")
	}
	b := newUninterrupted(t)
	cmd := exec.Command("dartsc", append([]string{"run", "search", "--data", "images", "--save", "run", "--json"}, tiny...)...)
	cmd.Dir = b.folder
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	var once sync.Once
	cmd.Stdout = writerFunc(func(data []byte) {
		if bytes.Contains(data, []byte(`"event":"step"`)) {
			once.Do(func() { cmd.Process.Signal(os.Interrupt) })
		}
	})
	err := cmd.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != exitFailure {
		t.Fatalf("got %v, want exit code %d\n%s", err, exitFailure, &stderr)
	}
	if want := "dartsc: stopped; the state is saved: go on with dartsc run search --resume run\n"; stderr.String() != want {
		t.Errorf("standard error\ngot:  %q\nwant: %q", stderr.String(), want)
	}
	if _, err := os.Stat(filepath.Join(b.folder, "run", "genotype.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the interrupted run has a genotype.json: %v", err)
	}
	resumed, output := b.goOn("run")
	if err := resumed.Run(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if !strings.Contains(output.String(), "goes on after step ") {
		t.Errorf("the run did not go on from its checkpoint:\n%s", output)
	}
	b.check("run")
}

type writerFunc func(data []byte)

func (w writerFunc) Write(data []byte) (int, error) {
	w(data)
	return len(data), nil
}

// TestWorkers: the number of workers changes no bit.
func TestWorkers(t *testing.T) {
	b := newUninterrupted(t)
	for _, workers := range []string{"1", "2", "3"} {
		b.search("workers"+workers, append(tiny, "--workers", workers)...)
		b.check("workers" + workers)
	}
}
