package nvrtc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ebitengine/purego"
)

// names are the library's, the newest first: the number is CUDA's major version but for 11, which kept 11.2's name.
var names = []string{"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so"}

// Variable is the environment variable that names the library, or folders where it may lie, separated by colons: the
// folder itself, its lib or lib64, or those of Python's packages where it is a folder site-packages or nvidia in it.
const Variable = "DARTSC_NVRTC"

// Open opens the newest run-time compiler that it finds: where DARTSC_NVRTC says, and nowhere else where that is set;
// else where the system looks (LD_LIBRARY_PATH among it), in $CUDA_HOME, $CUDA_PATH and /usr/local/cuda.
func Open() (*Library, error) {
	var failures []string
	for _, path := range candidates() {
		l, err := open(path)
		if err == nil {
			return l, nil
		}
		if strings.ContainsRune(path, '/') {
			failures = append(failures, err.Error())
		}
	}
	where := "in the system's library folders, $CUDA_HOME or /usr/local/cuda"
	if given := os.Getenv(Variable); given != "" {
		where = "in " + Variable + "=" + given
	}
	err := fmt.Errorf("%w %s: install CUDA's, or pip install nvidia-cuda-nvrtc and let %s name its folder", ErrAbsent, where, Variable)
	for _, failure := range failures {
		err = fmt.Errorf("%w; %s", err, failure)
	}
	return nil, err
}

// candidates lists paths that exist, and bare names for the system's own search.
func candidates() []string {
	given := os.Getenv(Variable)
	if given == "" {
		list := append([]string(nil), names...)
		for _, root := range []string{os.Getenv("CUDA_HOME"), os.Getenv("CUDA_PATH"), "/usr/local/cuda"} {
			if root != "" {
				list = append(list, within(root)...)
			}
		}
		return list
	}
	var list []string
	for _, root := range filepath.SplitList(given) {
		if info, err := os.Stat(root); err == nil && !info.IsDir() {
			list = append(list, root)
			continue
		}
		list = append(list, within(root)...)
	}
	return list
}

// within lists the libraries of a folder: CUDA's, the one of a Python package, or one that holds such packages.
func within(root string) (list []string) {
	for _, name := range names {
		for _, folder := range []string{"", "lib64", "lib", "targets/*/lib", "*/lib", "nvidia/*/lib"} {
			found, err := filepath.Glob(filepath.Join(root, folder, name))
			if err == nil { // a malformed pattern comes from a strange folder, which then holds nothing
				list = append(list, found...)
			}
		}
	}
	return list
}

func open(path string) (*Library, error) {
	if strings.ContainsRune(path, '/') {
		// NVRTC asks for this by its name alone when it compiles, which finds only what the system's folders hold or what is open already.
		builtins, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "libnvrtc-builtins.so.*"))
		for _, b := range builtins {
			_, _ = purego.Dlopen(b, purego.RTLD_NOW|purego.RTLD_GLOBAL) // if it fails NVRTC says what it lacks
		}
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	l := &Library{Path: path}
	for _, f := range []struct {
		name   string
		target any
	}{
		{"Version", &l.version}, {"GetErrorString", &l.errorString},
		{"CreateProgram", &l.createProgram}, {"DestroyProgram", &l.destroyProgram}, {"CompileProgram", &l.compileProgram},
		{"GetProgramLogSize", &l.programLogSize}, {"GetProgramLog", &l.programLog},
		{"GetPTXSize", &l.ptxSize}, {"GetPTX", &l.ptx}, {"GetCUBINSize", &l.cubinSize}, {"GetCUBIN", &l.cubin},
		{"GetNumSupportedArchs", &l.countArchs}, {"GetSupportedArchs", &l.supportedArches},
	} {
		symbol, err := purego.Dlsym(handle, "nvrtc"+f.name)
		if err != nil {
			return nil, fmt.Errorf("%s is no NVRTC of CUDA 11.2 or newer: %w", path, err)
		}
		purego.RegisterFunc(f.target, symbol)
	}
	var major, minor int32
	if result := l.version(&major, &minor); result != 0 {
		return nil, fmt.Errorf("%s: version: %s", path, l.errorString(result))
	}
	l.Major, l.Minor = int(major), int(minor)
	return l, nil
}
