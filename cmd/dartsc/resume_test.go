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
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// tinyRun is a run of 6 epochs of some 15 steps, and the results that it leaves.
type tinyRun struct {
	name    string
	command string
	data    string
	args    []string
	results []string
}

var tinyRuns = []tinyRun{
	{
		"search", "search", "images", []string{"--init-channels", "2", "--layers", "1", "--epochs", "6", "--batch-size", "4", "--report-freq", "4", "--checkpoint-interval", "50ms"},
		[]string{"genotypes.jsonl", "genotype.json", "normal.svg", "reduction.svg", "model.onnx"},
	},
	{
		"train", "train", "images", []string{"--init-channels", "2", "--layers", "2", "--auxiliary=false", "--train-portion", "0.5", "--epochs", "6", "--batch-size", "4",
			"--report-freq", "4", "--checkpoint-interval", "50ms"},
		trainResults,
	},
	{
		"train from files", "train", "images", []string{"--preset", "imagenet", "--image-size", "32", "--init-channels", "2", "--layers", "2", "--auxiliary=false", "--train-portion", "0.5",
			"--epochs", "6", "--batch-size", "4", "--report-freq", "4", "--checkpoint-interval", "50ms"},
		trainResults,
	},
	{
		"search rnn", "search rnn", "text", []string{"--preset", "quick", "--nhid", "6", "--epochs", "6", "--batch-size", "4", "--bptt", "3", "--dropoute", "0.1", "--dropouth", "0.2",
			"--log-interval", "3", "--checkpoint-interval", "50ms"},
		[]string{"genotypes.jsonl", "genotype.json", "recurrent.svg", "results.json"},
	},
	{
		"train rnn", "train rnn", "text", []string{"--preset", "quick", "--nhid", "6", "--epochs", "8", "--batch-size", "3", "--bptt", "3", "--max-seq-len-delta", "3", "--nonmono", "1",
			"--dropoute", "0.1", "--dropouth", "0.2", "--log-interval", "3", "--checkpoint-interval", "5ms"},
		[]string{"best.safetensors", "rollback.safetensors", "genotype.json", "recurrent.svg", "results.json"},
	},
}

var trainResults = []string{"best.safetensors", "weights.safetensors", "model.onnx", "results.json"}

// forEachRun tests both commands.
func forEachRun(t *testing.T, test func(t *testing.T, r tinyRun)) {
	for _, r := range tinyRuns {
		t.Run(r.name, func(t *testing.T) { test(t, r) })
	}
}

// uninterrupted is a folder with the data of makeData and the run that nothing interrupted.
type uninterrupted struct {
	*testing.T
	tinyRun
	folder string
	whole  map[string][]byte
	took   time.Duration
}

func newUninterrupted(t *testing.T, r tinyRun) *uninterrupted {
	b := &uninterrupted{T: t, tinyRun: r, folder: t.TempDir()}
	if err := makeData(b.folder); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	b.begin("whole", r.args...)
	b.took = time.Since(start)
	b.whole = b.final("whole")
	return b
}

func (b *uninterrupted) dartsc(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command("dartsc", append(append([]string{"run"}, strings.Fields(b.command)...), args...)...)
	cmd.Dir = b.folder
	output := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = output, output
	return cmd, output
}

// begin runs a new run to its end.
func (b *uninterrupted) begin(run string, args ...string) {
	b.Helper()
	cmd, output := b.dartsc(append([]string{"--data", b.data, "--save", run}, args...)...)
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", run, err, output)
	}
}

// goOn is the command that begins a run, or goes on with it where it has begun.
func (b *uninterrupted) goOn(run string) (*exec.Cmd, *bytes.Buffer) {
	if _, err := os.Stat(filepath.Join(b.folder, run, "config.json")); err == nil {
		return b.dartsc("--resume", run, "--checkpoint-interval", "50ms")
	}
	return b.dartsc(append([]string{"--data", b.data, "--save", run}, b.args...)...)
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
	for _, name := range append([]string{last + "/tensors.safetensors", last + "/state.json", "config.json", "metrics.jsonl"}, b.results...) {
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

// TestKilled kills a run at random moments and resumes it each time: it ends with the same bits as one that was not
// killed. DARTSC_KILLS says how often.
func TestKilled(t *testing.T) { forEachRun(t, testKilled) }

func testKilled(t *testing.T, r tinyRun) {
	kills := 3
	if text := os.Getenv("DARTSC_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("DARTSC_KILLS: %v", err)
		}
	}
	b := newUninterrupted(t, r)
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
func TestInterrupted(t *testing.T) { forEachRun(t, testInterrupted) }

func testInterrupted(t *testing.T, r tinyRun) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be sent an interrupt on Windows")
	}
	b := newUninterrupted(t, r)
	cmd := exec.Command("dartsc", append(append([]string{"run"}, strings.Fields(r.command)...), append([]string{"--data", b.data, "--save", "run", "--json"}, r.args...)...)...)
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
	if want := "dartsc: stopped; the state is saved: go on with dartsc run " + r.command + " --resume run\n"; stderr.String() != want {
		t.Errorf("standard error\ngot:  %q\nwant: %q", stderr.String(), want)
	}
	if _, err := os.Stat(filepath.Join(b.folder, "run", "model.onnx")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the interrupted run has a model.onnx: %v", err)
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
func TestWorkers(t *testing.T) { forEachRun(t, testWorkers) }

func testWorkers(t *testing.T, r tinyRun) {
	b := newUninterrupted(t, r)
	for _, workers := range []string{"1", "2", "3"} {
		b.begin("workers"+workers, append(slices.Clone(r.args), "--workers", workers)...)
		b.check("workers" + workers)
	}
}
