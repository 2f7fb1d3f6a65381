package run

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/safetensors"
)

type testConfig struct {
	Layers int    `json:"layers"`
	Data   string `json:"data"`
}

type testState struct {
	Epoch int `json:"epoch"`
}

func create(t *testing.T) *Folder {
	t.Helper()
	f, err := Create(filepath.Join(t.TempDir(), "run"), testConfig{8, "shapes"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// reopen is what another process does after this one died.
func reopen(t *testing.T, f *Folder) *Folder {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func weights(step int64) []safetensors.Tensor {
	return []safetensors.Tensor{safetensors.FromFloat32s("w", []int{2}, []float32{float32(step), 1})}
}

func save(t *testing.T, f *Folder, step int64) {
	t.Helper()
	if err := f.SaveCheckpoint(step, weights(step), map[string]string{"what": "test"}, testState{int(step)}); err != nil {
		t.Fatal(err)
	}
}

func appendLines(t *testing.T, f *Folder, n int) {
	t.Helper()
	if err := f.AppendMetrics(map[string]int{"n": n}); err != nil {
		t.Fatal(err)
	}
	if err := f.AppendGenotype(fmt.Sprint("genotype ", n)); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("got no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got error %q, want one with %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has more than one line: %q", err)
	}
}

func wantFile(t *testing.T, f *Folder, name, want string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(f.Path(), name))
	if err != nil || string(got) != want {
		t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
	}
}

func wantCheckpoint(t *testing.T, c *Checkpoint, step int64) {
	t.Helper()
	if c.Step != step {
		t.Fatalf("step %d, want %d", c.Step, step)
	}
	w, _ := c.Tensors.Lookup("w")
	if values, err := w.Float32s(); err != nil || !slices.Equal(values, []float32{float32(step), 1}) {
		t.Errorf("weights %v, %v, want [%d 1]", values, err, step)
	}
	var state testState
	if err := c.DecodeState(&state); err != nil || state.Epoch != int(step) {
		t.Errorf("state %v, %v, want epoch %d", state, err, step)
	}
}

func wantCheckpoints(t *testing.T, f *Folder, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(f.Path(), checkpointsName))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("checkpoints %q, want %q", got, want)
	}
}

// warnings collects what is logged while the test runs.
func warnings(t *testing.T) *bytes.Buffer {
	var b bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &b
}

func TestCreateRefusesWhatIsThere(t *testing.T) {
	f := create(t)
	before, _ := os.ReadFile(filepath.Join(f.Path(), configName))
	f.Close()
	_, err := Create(f.Path(), testConfig{})
	wantError(t, err, f.Path(), "not empty", "--save", "--resume")
	wantFile(t, f, configName, string(before))

	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = Create(foreign, testConfig{})
	wantError(t, err, foreign, "not empty")
	if entries, _ := os.ReadDir(foreign); len(entries) != 1 {
		t.Errorf("Create left %v in a folder that is not its own", entries)
	}
	_, err = Create(filepath.Join(foreign, "thesis.tex"), testConfig{})
	wantError(t, err, "thesis.tex", "not a directory")
	_, err = Create(filepath.Join(foreign, "new"), func() {})
	wantError(t, err, configName)
}

func TestCreateTakesAnEmptyOrUnbegunFolder(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{lockName, metricsName, ".config.json.tmp-0123456789abcdef"} { // killed during Create
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(path, checkpointsName), 0o777); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path, testConfig{8, "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wantFile(t, f, configName, "{\n  \"layers\": 8,\n  \"data\": \"a\"\n}\n")
	if matches, _ := filepath.Glob(filepath.Join(path, ".*tmp*")); len(matches) > 0 {
		t.Errorf("left over: %q", matches)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{folder, "it has no config.json"},
		{file, "it is a file"},
		{filepath.Join(folder, "absent"), "no such file"},
	} {
		_, err := Open(c.path)
		wantError(t, err, c.path, c.want)
		_, err = OpenReadOnly(c.path)
		wantError(t, err, c.path, c.want)
	}
}

func TestOneWriter(t *testing.T) {
	f := create(t)
	_, err := Open(f.Path())
	wantError(t, err, f.Path(), "in use")
	if !errors.Is(err, ErrInUse) {
		t.Errorf("got error %v, want %v", err, ErrInUse)
	}
	reader, err := OpenReadOnly(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	save(t, f, 1)
	latest, err := reader.Latest()
	if err != nil {
		t.Fatal(err)
	}
	wantCheckpoint(t, latest, 1)
	var config testConfig
	if err := reader.Config(&config); err != nil || config != (testConfig{8, "shapes"}) {
		t.Errorf("Config = %v, %v", config, err)
	}
	_, _, err = reader.Resume()
	wantError(t, err, "reading only")
	wantError(t, reader.AppendMetrics(1), "reading only")
	wantError(t, reader.SaveCheckpoint(2, nil, nil, nil), "reading only")
	wantError(t, reader.WriteFile("a", nil), "reading only")

	again := reopen(t, f)
	wantError(t, again.AppendMetrics(1), "not resumed")
	wantError(t, again.SaveCheckpoint(2, nil, nil, nil), "not resumed")
	if err := again.WriteFile("genotype.json", []byte("{}")); err != nil {
		t.Error(err)
	}
}

func TestConfigIsStrict(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown field", `{"layers":8,"width":3}`, `unknown field "width"`},
		{"wrong type", `{"layers":"8"}`, `field "layers" is a string, want int`},
		{"cut", `{"layers":8`, "ends in the middle"},
		{"empty", ``, "ends in the middle"},
		{"two values", `{"layers":8}{}`, "more after its end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := create(t)
			if err := os.WriteFile(filepath.Join(f.Path(), configName), []byte(c.text), 0o666); err != nil {
				t.Fatal(err)
			}
			wantError(t, f.Config(new(testConfig)), filepath.Join(f.Path(), configName), c.want)
		})
	}
}

func TestWriteFileNames(t *testing.T) {
	f := create(t)
	for _, name := range []string{"", ".", "..", ".lock", "a/b", "../a", "/a", `a\b`, "C:a", configName, metricsName, genotypesName, checkpointsName} {
		wantError(t, f.WriteFile(name, nil), "plain file name", f.Path())
	}
	for _, content := range []string{"<svg/>", "<svg></svg>"} {
		if err := f.WriteFile("normal.svg", []byte(content)); err != nil {
			t.Fatal(err)
		}
		wantFile(t, f, "normal.svg", content)
	}
}

func TestResumeTakesTheLogsBack(t *testing.T) {
	f := create(t)
	appendLines(t, f, 1)
	save(t, f, 10)
	appendLines(t, f, 2)
	f = reopen(t, f)
	if err := os.WriteFile(filepath.Join(f.Path(), metricsName), []byte("{\"n\":1}\n{\"n\":2}\n{\"n\""), 0o666); err != nil {
		t.Fatal(err)
	}
	checkpoint, found, err := f.Resume()
	if err != nil || !found {
		t.Fatal(found, err)
	}
	wantCheckpoint(t, checkpoint, 10)
	wantFile(t, f, metricsName, "{\"n\":1}\n")
	wantFile(t, f, genotypesName, "\"genotype 1\"\n")
	appendLines(t, f, 3)
	wantFile(t, f, metricsName, "{\"n\":1}\n{\"n\":3}\n")
	wantFile(t, f, genotypesName, "\"genotype 1\"\n\"genotype 3\"\n")
}

func TestResumeBeforeTheFirstCheckpoint(t *testing.T) {
	f := create(t)
	appendLines(t, f, 1)
	f = reopen(t, f)
	_, err := f.Latest()
	if !errors.Is(err, ErrNoCheckpoint) {
		t.Errorf("Latest: got error %v, want %v", err, ErrNoCheckpoint)
	}
	checkpoint, found, err := f.Resume()
	if checkpoint != nil || found || err != nil {
		t.Errorf("Resume = %v, %v, %v, want nil, false, nil", checkpoint, found, err)
	}
	wantFile(t, f, metricsName, "")
	wantFile(t, f, genotypesName, "")
	appendLines(t, f, 1)
	save(t, f, 1)
}

func TestResumeRefusesEditedLogs(t *testing.T) {
	for _, c := range []struct{ name, genotypes, want string }{
		{"shorter", "\"genotype 1\"\n", "13 bytes, the checkpoint counts 26"},
		{"other lines", "\"genotype 1\"\n\"genotype one\"\n", "no line ends at byte 26"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := create(t)
			appendLines(t, f, 1)
			appendLines(t, f, 2)
			save(t, f, 1)
			appendLines(t, f, 3)
			f = reopen(t, f)
			if err := os.WriteFile(filepath.Join(f.Path(), genotypesName), []byte(c.genotypes), 0o666); err != nil {
				t.Fatal(err)
			}
			_, _, err := f.Resume()
			wantError(t, err, genotypesName, c.want)
			wantFile(t, f, metricsName, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n")
			wantFile(t, f, genotypesName, c.genotypes)
		})
	}
}

func TestLastTwoCheckpointsAreKept(t *testing.T) {
	f := create(t)
	for _, step := range []int64{0, 9, 10, 12_345_678_901} {
		save(t, f, step)
	}
	wantCheckpoints(t, f, "0000000010", "12345678901")
	latest, err := f.Latest()
	if err != nil {
		t.Fatal(err)
	}
	wantCheckpoint(t, latest, 12_345_678_901)
	wantError(t, f.SaveCheckpoint(11, nil, nil, nil), "step 11", "at step 12345678901 already")
	wantError(t, f.SaveCheckpoint(-1, nil, nil, nil), "not negative")
}

func TestSaveFailureLeavesTheOldCheckpoint(t *testing.T) {
	f := create(t)
	save(t, f, 1)
	bad := []safetensors.Tensor{{Name: "w", DType: "F31"}}
	wantError(t, f.SaveCheckpoint(2, bad, nil, nil), "step 2", tensorsName, `tensor "w"`)
	wantError(t, f.SaveCheckpoint(1, bad, nil, nil), "step 1", tensorsName, `tensor "w"`)
	wantError(t, f.SaveCheckpoint(2, nil, nil, func() {}), "step 2", stateName)
	wantCheckpoints(t, f, "0000000001")
}

func TestSameStepAgainReplaces(t *testing.T) {
	f := create(t)
	save(t, f, 1)
	save(t, f, 2)
	appendLines(t, f, 1)
	save(t, f, 2)
	wantCheckpoints(t, f, "0000000001", "0000000002")
	f = reopen(t, f)
	if _, _, err := f.Resume(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, f, metricsName, "{\"n\":1}\n")
}

// Killed while one checkpoint replaces another of its step: whichever is there is taken, and nothing else is left.
func TestKilledWhileReplacing(t *testing.T) {
	for _, c := range []struct {
		name string
		kill func(newest, aside string) error
	}{
		{"after the old one stepped aside", os.Rename},
		{"before the old one was removed", func(newest, aside string) error { return os.CopyFS(aside, os.DirFS(newest)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := create(t)
			save(t, f, 7)
			f = reopen(t, f)
			newest := filepath.Join(f.Path(), checkpointsName, "0000000007")
			if err := c.kill(newest, newest+".replaced"); err != nil {
				t.Fatal(err)
			}
			checkpoint, found, err := f.Resume()
			if err != nil || !found {
				t.Fatal(found, err)
			}
			wantCheckpoint(t, checkpoint, 7)
			wantCheckpoints(t, f, "0000000007")
			save(t, f, 7)
			save(t, f, 8)
			wantCheckpoints(t, f, "0000000007", "0000000008")
		})
	}
}

func TestDamagedCheckpointIsPassedOver(t *testing.T) {
	edit := func(name string, change func([]byte) []byte) func(folder string) error {
		return func(folder string) error {
			path := filepath.Join(folder, name)
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, change(content), 0o666)
		}
	}
	flipLast := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	swap := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	}
	for _, c := range []struct {
		name, want string
		damage     func(folder string) error
	}{
		{"bit flipped in the tensors", "tensors.safetensors: is damaged", edit(tensorsName, flipLast)},
		{"tensors cut", "tensors.safetensors: is damaged", edit(tensorsName, cut)},
		{"tensors missing", "tensors.safetensors: no such file", func(folder string) error { return os.Remove(filepath.Join(folder, tensorsName)) }},
		{"state cut", "state.json: unexpected end", edit(stateName, cut)},
		{"state missing", "state.json: no such file", func(folder string) error { return os.Remove(filepath.Join(folder, stateName)) }},
		{"digit changed in the state", "state.json: is damaged", edit(stateName, swap(`"epoch": 3`, `"epoch": 2`))},
		{"later format", "state.json: has format 2, this program reads format 1", edit(stateName, swap(`"format": 1`, `"format": 2, "new": 0`))},
		{"field unknown", `state.json: unknown field "extra"`, edit(stateName, swap(`"step"`, `"extra": 1, "step"`))},
		{"folder renamed", "state.json: is of step 3", func(folder string) error { return os.Rename(folder, folder[:len(folder)-1]+"5") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			logged := warnings(t)
			f := create(t)
			for step := range int64(4) {
				appendLines(t, f, int(step))
				save(t, f, step)
			}
			f = reopen(t, f)
			if err := c.damage(filepath.Join(f.Path(), checkpointsName, "0000000003")); err != nil {
				t.Fatal(err)
			}
			checkpoint, found, err := f.Resume()
			if err != nil || !found {
				t.Fatal(found, err)
			}
			wantCheckpoint(t, checkpoint, 2)
			wantFile(t, f, metricsName, "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n")
			if !strings.Contains(strings.ReplaceAll(logged.String(), `\"`, `"`), c.want) {
				t.Errorf("logged %q, want %q in it", logged, c.want)
			}
			save(t, f, 3) // and the run goes on over the damaged one
			wantCheckpoints(t, f, "0000000002", "0000000003")
		})
	}
}

func TestAllCheckpointsDamaged(t *testing.T) {
	warnings(t)
	f := create(t)
	appendLines(t, f, 1)
	save(t, f, 1)
	save(t, f, 2)
	f = reopen(t, f)
	for _, name := range []string{"0000000001", "0000000002"} {
		if err := os.Truncate(filepath.Join(f.Path(), checkpointsName, name, tensorsName), 9); err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.Latest()
	wantError(t, err, "no checkpoint that is whole", "0000000001", "0000000002")
	_, found, err := f.Resume()
	wantError(t, err, "no checkpoint that is whole", "0000000001", "0000000002")
	if found || errors.Is(err, ErrNoCheckpoint) {
		t.Errorf("Resume = %v, %v: the run must not start anew", found, err)
	}
	wantFile(t, f, metricsName, "{\"n\":1}\n")
	wantCheckpoints(t, f, "0000000001", "0000000002")
}

func TestStateOfAnotherConfiguration(t *testing.T) {
	f := create(t)
	if err := f.SaveCheckpoint(1, nil, nil, map[string]any{"epoch": 1, "hidden": 9007199254740993}); err != nil {
		t.Fatal(err)
	}
	checkpoint, err := f.Latest()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"epoch":1,"hidden":9007199254740993}`; string(checkpoint.State) != want {
		t.Errorf("State = %s, want %s", checkpoint.State, want)
	}
	wantError(t, checkpoint.DecodeState(new(testState)), stateName, `unknown field "hidden"`)
}
