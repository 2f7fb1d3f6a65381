//go:build !linux

package cpu

import "fmt"

// mostBytes keeps a wrong plan from ending the process, which is what Go does when memory runs out.
const mostBytes = 1 << 40

// allocate returns zeroed memory.
func allocate(size int64) (data []byte, free func() error, err error) {
	if size > mostBytes || int64(int(size)) != size {
		return nil, nil, fmt.Errorf("%d bytes are more than this machine can address", size)
	}
	return aligned(int(size)), func() error { return nil }, nil
}
