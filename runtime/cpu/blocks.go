package cpu

import (
	"cmp"
	"runtime"
	"sync"
	"sync/atomic"
)

// bindBlock is the number of launches that one processor binds at a time: some 50,000 of a large plan take a fifth of a
// second on one.
const bindBlock = 256

// inBlocks calls f for every index below n on all processors, and returns the error of the lowest index.
func inBlocks(n int, f func(at int) error) error {
	blocks := (n + bindBlock - 1) / bindBlock
	errs := make([]error, blocks)
	var next atomic.Int64
	var running sync.WaitGroup
	for range min(blocks, runtime.GOMAXPROCS(0)) {
		running.Go(func() {
			for block := int(next.Add(1)) - 1; block < blocks; block = int(next.Add(1)) - 1 {
				for at := block * bindBlock; at < min(n, (block+1)*bindBlock) && errs[block] == nil; at++ {
					errs[block] = f(at)
				}
			}
		})
	}
	running.Wait()
	return cmp.Or(errs...)
}
