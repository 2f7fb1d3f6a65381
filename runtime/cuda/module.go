//go:build cuda && linux && cgo && (amd64 || arm64)

package cuda

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"

	"gorgonia.org/cu"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/nvrtc"
	"github.com/dartsc/dartsc/runtime/cuda/driver"
)

// loadModules gives the driver the plan's code.
func (i *instance) loadModules() error {
	images, err := imagesFor(i.plan.Modules, i.device.Architecture)
	if err != nil {
		return err
	}
	for at, image := range images {
		log := make([]byte, 64<<10)
		module, err := cu.LoadDataEx(string(image), &cu.JITErrorLogBuffer{Buffer: log})
		if err != nil {
			message := fmt.Errorf("module %s: %w", i.plan.Modules[at].Name, driver.Explain(err))
			if said := strings.TrimSpace(string(bytes.TrimRight(log, "\x00"))); said != "" {
				message = fmt.Errorf("%w: %s", message, said)
			}
			return message
		}
		i.modules = append(i.modules, module)
		i.after(module.Unload)
	}
	return nil
}

// imagesFor returns the code of all modules for a device. What has to be compiled is compiled side by side.
func imagesFor(modules []plan.Module, architecture string) ([][]byte, error) {
	images, errs := make([][]byte, len(modules)), make([]error, len(modules))
	free := make(chan bool, goruntime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for at := range modules {
		group.Go(func() {
			free <- true
			defer func() { <-free }()
			images[at], errs[at] = imageFor(&modules[at], architecture)
		})
	}
	group.Wait()
	for at, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", modules[at].Name, err)
		}
	}
	return images, nil
}

// imageFor returns the code that fits a device best: machine code for exactly its architecture, else PTX for the latest
// one that it has, else machine code of an earlier minor version; where the plan has none, what NVRTC makes of the source.
func imageFor(m *plan.Module, architecture string) ([]byte, error) {
	if image := m.Image(architecture, plan.Cubin); image != nil {
		return image, nil
	}
	device := capability(architecture)
	for _, format := range []string{plan.PTX, plan.Cubin} {
		best, at := 0, -1
		for index, image := range m.Images {
			c := capability(image.Architecture)
			fits := c > 0 && c <= device && (format == plan.PTX || c/10 == device/10)
			if image.Format == format && fits && c > best {
				best, at = c, index
			}
		}
		if at >= 0 {
			return m.Images[at].Data, nil
		}
	}
	library, err := nvrtc.Open()
	if err != nil {
		return nil, fmt.Errorf("the plan holds no code for %s, and its source cannot be compiled here: %w", architecture, err)
	}
	source := nvrtc.Source{Name: m.Name + ".cu", Text: m.Source, Arch: architecture, Flags: m.Options}
	var object nvrtc.Object
	if folder, none := os.UserCacheDir(); none == nil {
		object, err = library.CompileCached(filepath.Join(folder, "dartsc", "cuda"), source)
	} else {
		object, err = library.Compile(source)
	}
	return object.Code, err
}

// functions finds the kernels of a plan, and allows them the shared memory that their launches want.
type functions struct {
	found   map[key]cu.Function
	allowed map[cu.Function]limits
	most    int // bytes of shared memory that the device gives a block
}

type key struct {
	module int
	name   string
}

// limits are those of a kernel on this device.
type limits struct {
	threads     int // of a block
	sharedBytes int // that it has been allowed
	parameters  []driver.Parameter
	known       bool // whether parameters are known
}

// usualSharedBytes is what every kernel may have without being allowed more.
const usualSharedBytes = 48 << 10

// get returns the kernel of a launch, which it can run.
func (f *functions) get(modules []cu.Module, d *plan.DeviceLaunch) (cu.Function, error) {
	k := key{d.Module, d.Function}
	function, ok := f.found[k]
	if !ok {
		var err error
		if function, err = modules[d.Module].Function(d.Function); err != nil {
			return function, fmt.Errorf("find kernel %s: %w", d.Function, driver.Explain(err))
		}
		threads, err := function.Attribute(cu.FnMaxThreadsPerBlock)
		if err != nil {
			return function, fmt.Errorf("kernel %s: %w", d.Function, driver.Explain(err))
		}
		parameters, known := driver.Parameters(function)
		f.found[k], f.allowed[function] = function, limits{threads, usualSharedBytes, parameters, known}
	}
	l := f.allowed[function]
	if l.known {
		if err := checkArguments(d.Arguments, l.parameters); err != nil {
			return function, fmt.Errorf("kernel %s: %w", d.Function, err)
		}
	}
	if want := d.Block[0] * d.Block[1] * d.Block[2]; want > l.threads {
		return function, fmt.Errorf("kernel %s: blocks of %d threads, its registers allow %d on this device", d.Function, want, l.threads)
	}
	if d.SharedBytes > l.sharedBytes {
		if d.SharedBytes > f.most {
			return function, fmt.Errorf("kernel %s: %d bytes of shared memory a block, the device has %d", d.Function, d.SharedBytes, f.most)
		}
		if err := driver.AllowSharedBytes(function, d.SharedBytes); err != nil {
			return function, fmt.Errorf("kernel %s: %d bytes of shared memory: %w", d.Function, d.SharedBytes, err)
		}
		l.sharedBytes = d.SharedBytes
		f.allowed[function] = l
	}
	return function, nil
}

// checkArguments holds the arguments of a launch against what the kernel takes: a parameter is one argument, or a struct of
// several that follow one another. An argument too few, or one of another size, would be read from somewhere else.
func checkArguments(arguments []plan.Argument, parameters []driver.Parameter) error {
	at, offset := 0, 0 // the argument that comes next, and its place
	for i, p := range parameters {
		first, start, largest := at, offset, 1
		for ; at < len(arguments) && (at == first || offset < p.Offset+p.Size); at++ {
			size := arguments[at].Size()
			offset = roundUp(offset, size)
			if at == first {
				start = offset
			}
			offset, largest = offset+size, max(largest, size)
		}
		if at == first {
			return fmt.Errorf("takes %d parameters, the arguments of the launch end before parameter %d", len(parameters), i)
		}
		offset = roundUp(offset, largest)
		if got := (driver.Parameter{Offset: start, Size: offset - start}); got != p {
			return fmt.Errorf("takes parameter %d at byte %d with %d bytes, the launch has it at byte %d with %d", i, p.Offset, p.Size, got.Offset, got.Size)
		}
	}
	if at < len(arguments) {
		return fmt.Errorf("takes %d parameters, the launch has %d arguments more", len(parameters), len(arguments)-at)
	}
	return nil
}

// roundUp is the next multiple of a size.
func roundUp(n, size int) int { return (n + size - 1) / size * size }
