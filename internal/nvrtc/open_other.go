//go:build !linux

package nvrtc

import "fmt"

// Variable has no meaning here.
const Variable = "DARTSC_NVRTC"

// Open finds nothing: CUDA is looked for on Linux only.
func Open() (*Library, error) {
	return nil, fmt.Errorf("%w: it is looked for on Linux only", ErrAbsent)
}
