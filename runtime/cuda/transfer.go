//go:build cuda && linux && cgo && (amd64 || arm64)

package cuda

import (
	"fmt"
	goruntime "runtime"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/runtime/cuda/driver"
)

// ring is page-locked memory for data on its way to the device: parts that are used in turn, each with an event that
// says when the device has taken what was in it. So a step can be prepared while others run.
type ring struct {
	parts []part
	next  int
}

type part struct {
	memory []byte
	taken  cu.Event
	used   bool
}

const (
	ringParts   = 16      // inputs of a few steps
	smallestBuf = 1 << 20 // bytes of a part, at least
)

// lockHostMemory makes the ring, whose parts take the largest input whole, and the buffer for results.
func (i *instance) lockHostMemory() (err error) {
	var input, result int64
	for _, p := range i.plan.Programs {
		for _, port := range p.Inputs {
			input = max(input, p.Buffers[port.Buffer].Bytes())
		}
		for _, port := range p.Results {
			result = max(result, p.Buffers[port.Buffer].Bytes())
		}
	}
	for range ringParts {
		memory, err := i.allocateHost(int(max(input, smallestBuf)))
		if err != nil {
			return err
		}
		taken, err := cu.MakeEvent(cu.DisableTiming)
		if err != nil {
			return fmt.Errorf("make an event: %w", driver.Explain(err))
		}
		i.after(func() error { return cu.DestroyEvent(&taken) })
		i.uploads.parts = append(i.uploads.parts, part{memory: memory, taken: taken})
	}
	i.download, err = i.allocateHost(int(max(result, smallestBuf)))
	return err
}

func (i *instance) allocateHost(bytes int) ([]byte, error) {
	memory, err := driver.AllocHost(bytes)
	if err != nil {
		return nil, fmt.Errorf("lock %d bytes of the host's memory: %w", bytes, err)
	}
	i.after(func() error { return driver.FreeHost(memory) })
	return memory, nil
}

func (i *instance) address(space plan.Space, offset int64) cu.DevicePtr {
	return i.spaces[space] + cu.DevicePtr(offset)
}

func (i *instance) check(space plan.Space, offset int64, n int) error {
	if int(space) >= len(i.sizes) || offset < 0 || int64(n) > i.sizes[space]-offset {
		return fmt.Errorf("%d bytes at offset %d of space %d lie outside of the plan's memory", n, offset, space)
	}
	return nil
}

// Write implements runtime.Instance. It returns when the data is copied to page-locked memory; the device takes it
// before what is put into the stream later.
func (i *instance) Write(space plan.Space, offset int64, data []byte) error {
	if err := i.check(space, offset, len(data)); err != nil {
		return err
	}
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	if err := i.enter(); err != nil {
		return err
	}
	i.fresh = false
	for len(data) > 0 {
		p := &i.uploads.parts[i.uploads.next]
		i.uploads.next = (i.uploads.next + 1) % len(i.uploads.parts)
		if p.used {
			if err := i.failed(p.taken.Synchronize()); err != nil {
				return err
			}
		}
		n := copy(p.memory, data)
		if err := cu.MemcpyHtoDAsync(i.address(space, offset), unsafe.Pointer(&p.memory[0]), int64(n), i.stream); err != nil {
			return fmt.Errorf("copy %d bytes to the device: %w", n, driver.Explain(err))
		}
		if err := p.taken.Record(i.stream); err != nil {
			return fmt.Errorf("copy %d bytes to the device: %w", n, driver.Explain(err))
		}
		p.used = true
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

// Read implements runtime.Instance. It waits for all that is in the stream; small results of the program that ran last
// have been copied with it already.
func (i *instance) Read(space plan.Space, offset int64, into []byte) error {
	if err := i.check(space, offset, len(into)); err != nil {
		return err
	}
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	if err := i.enter(); err != nil {
		return err
	}
	if m := i.mirrored(space, offset, len(into)); m != nil {
		if err := i.wait(); err != nil {
			return err
		}
		copy(into, m)
		return nil
	}
	for len(into) > 0 {
		n := min(len(into), len(i.download))
		if err := cu.MemcpyDtoHAsync(unsafe.Pointer(&i.download[0]), i.address(space, offset), int64(n), i.stream); err != nil {
			return fmt.Errorf("copy %d bytes from the device: %w", n, driver.Explain(err))
		}
		if err := i.wait(); err != nil {
			return err
		}
		copy(into, i.download[:n])
		into, offset = into[n:], offset+int64(n)
	}
	return nil
}

// mirrored returns the host's copy of a buffer, or nil.
func (i *instance) mirrored(space plan.Space, offset int64, n int) []byte {
	if !i.fresh {
		return nil
	}
	for _, m := range i.programs[i.last].mirrors {
		if m.Space == space && m.Offset == offset && len(m.copy) == n {
			return m.copy
		}
	}
	return nil
}
