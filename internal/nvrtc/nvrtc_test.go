//go:build linux

package nvrtc

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// open returns this machine's compiler, or skips.
func openHere(t *testing.T) *Library {
	t.Helper()
	l, err := Open()
	if errors.Is(err, ErrAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const scale = `#include "factor.h"
extern "C" __global__ void scale(float *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= FACTOR;
}
`

var factor = map[string]string{"factor.h": "#define FACTOR 3.0f\n"}

func TestCompile(t *testing.T) {
	l := openHere(t)
	t.Logf("NVRTC %s at %s", l.Version(), l.Path)
	archs, err := l.Archs()
	if err != nil || len(archs) == 0 {
		t.Fatalf("architectures %v, %v", archs, err)
	}
	ptx, err := l.Compile(Source{Name: "scale.cu", Text: scale, Headers: factor, Arch: "compute_80"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".visible .entry scale(", ".target sm_80", "0f40400000"} { // 3 as PTX writes it
		if !bytes.Contains(ptx.Code, []byte(want)) {
			t.Errorf("no %q in\n%s", want, ptx.Code)
		}
	}
	if bytes.IndexByte(ptx.Code, 0) >= 0 {
		t.Error("the PTX holds a zero byte")
	}
	cubin, err := l.Compile(Source{Name: "scale.cu", Text: scale, Headers: factor, Arch: "sm_90", Flags: []string{"--ptxas-options=-v"}})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(cubin.Code, []byte("\x7fELF")) {
		t.Errorf("the cubin begins with %q", cubin.Code[:min(4, len(cubin.Code))])
	}
	if !strings.Contains(cubin.Log, "registers") {
		t.Errorf("the log says nothing of registers: %q", cubin.Log)
	}
}

func TestCompileSeveralAtOnce(t *testing.T) {
	l := openHere(t)
	want, err := l.Compile(Source{Name: "scale.cu", Text: scale, Headers: factor, Arch: "compute_90"})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			got, err := l.Compile(Source{Name: "scale.cu", Text: scale, Headers: factor, Arch: "compute_90"})
			if err != nil || !bytes.Equal(got.Code, want.Code) {
				t.Errorf("another result, error %v", err)
			}
		})
	}
	group.Wait()
}

func TestCompileRefuses(t *testing.T) {
	l := openHere(t)
	for _, c := range []struct {
		name string
		Source
		want string
	}{
		{"syntax", Source{Name: "broken.cu", Text: "__global__ void f() { int }", Arch: "sm_90"}, "broken.cu(1)"},
		{"header", Source{Name: "scale.cu", Text: scale, Arch: "sm_90"}, "factor.h"},
		{"architecture", Source{Name: "scale.cu", Text: scale, Headers: factor, Arch: "sm_1"}, "sm_1"},
		{"no architecture", Source{Name: "scale.cu", Text: scale, Headers: factor}, "want sm_90"},
		{"flag", Source{Name: "scale.cu", Text: scale, Headers: factor, Arch: "sm_90", Flags: []string{"--no-such-flag"}}, "no-such-flag"},
		{"zero byte", Source{Name: "scale.cu", Text: "\x00", Arch: "sm_90"}, "zero byte"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := l.Compile(c.Source)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestOpenFindsNothing(t *testing.T) {
	folder := t.TempDir()
	t.Setenv(Variable, folder)
	if _, err := Open(); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), folder) {
		t.Errorf("error %v, want that NVRTC was not found in %s", err, folder)
	}
	path := filepath.Join(folder, "libnvrtc.so.12")
	if err := os.WriteFile(path, []byte("no library"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names %s", err, path)
	}
}

func TestWithin(t *testing.T) {
	for _, layout := range []string{
		"lib64/libnvrtc.so.12", "targets/x86_64-linux/lib/libnvrtc.so.12", // CUDA
		"nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "nvidia/cu13/lib/libnvrtc.so.13", // site-packages
		"cuda_nvrtc/lib/libnvrtc.so.11.2", "lib/libnvrtc.so.12", "libnvrtc.so",
	} {
		root := t.TempDir()
		path := filepath.Join(root, layout)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if found := within(root); len(found) != 1 || found[0] != path {
			t.Errorf("%s: found %v", layout, found)
		}
	}
}

func TestCompileCached(t *testing.T) {
	l := openHere(t)
	folder := filepath.Join(t.TempDir(), "cache")
	source := Source{Name: "scale.cu", Text: scale, Headers: factor, Arch: "sm_90"}
	compile := func(s Source) Object {
		t.Helper()
		object, err := l.CompileCached(folder, s)
		if err != nil {
			t.Fatal(err)
		}
		return object
	}
	kept := func() []os.DirEntry {
		t.Helper()
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	first := compile(source)
	if len(kept()) != 1 {
		t.Fatalf("%d files are kept", len(kept()))
	}
	path := filepath.Join(folder, kept()[0].Name())
	long := time.Now().Add(-unused - time.Hour)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	if again := compile(source); !bytes.Equal(again.Code, first.Code) {
		t.Error("the cache gives other code")
	}
	for _, other := range []Source{
		{Name: "scale.cu", Text: scale, Headers: factor, Arch: "sm_80"},
		{Name: "scale.cu", Text: scale, Headers: map[string]string{"factor.h": "#define FACTOR 2.0f\n"}, Arch: "sm_90"},
		{Name: "scale.cu", Text: scale, Headers: factor, Arch: "sm_90", Flags: []string{"--use_fast_math"}},
	} {
		if got := compile(other); bytes.Equal(got.Code, first.Code) && other.Flags == nil {
			t.Errorf("%s with %v: the code of another source", other.Arch, other.Headers)
		}
	}
	if len(kept()) != 4 {
		t.Errorf("%d files are kept, want 4: one was used, none is old", len(kept()))
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	if again := compile(source); !bytes.Equal(again.Code, first.Code) {
		t.Error("a damaged object is used")
	}
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	compile(Source{Name: "new.cu", Text: scale, Headers: factor, Arch: "sm_90"})
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("an object that was not used for long stays: %v", err)
	}
	folder = filepath.Join(path, "no folder") // what cannot be kept is compiled all the same
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	compile(source)
}
