//go:build !(cuda && linux && cgo && (amd64 || arm64))

package cuda

import "github.com/dartsc/dartsc/runtime"

// Look returns ErrNotBuilt.
func Look() (Machine, error) { return Machine{}, ErrNotBuilt }

// New returns ErrNotBuilt.
func New(int, []string) (runtime.Device, error) { return nil, ErrNotBuilt }
