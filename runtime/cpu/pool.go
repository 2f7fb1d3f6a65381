package cpu

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// pool is a fixed set of workers, the caller among them. Between phases the others watch an atomic counter for some
// microseconds before they park: waking a parked thread costs more than most phases take.
//
// A phase is handed out through remaining: whoever lowers it from r to r-1 owns part parts-r and may read the phase,
// which stays as it is until that part is counted in unfinished.
type pool struct {
	scratch [][]float32 // by worker; 0 is the caller
	spins   int
	yields  bool // more workers than processors: a spinning worker must let others run

	phase      phase
	remaining  atomic.Int32
	unfinished atomic.Int32

	parked  atomic.Int32
	wake    chan struct{} // a token for each worker that parked no longer counts
	closing atomic.Bool
	stopped sync.WaitGroup

	failure atomic.Pointer[failure]
}

// failure is a panic inside a part.
type failure struct{ value any }

func (f *failure) Error() string { return fmt.Sprintf("panic: %v", f.value) }

// spinsBeforeParking takes about 20 µs.
const spinsBeforeParking = 1 << 14

func newPool(workers, scratch int) *pool {
	p := &pool{wake: make(chan struct{}, workers), spins: spinsBeforeParking}
	if p.yields = workers > runtime.GOMAXPROCS(0); p.yields {
		p.spins = 64
	}
	for range workers {
		p.scratch = append(p.scratch, view32(aligned(4*scratch)))
	}
	for _, s := range p.scratch[1:] {
		p.stopped.Add(1)
		go p.help(s)
	}
	return p
}

// close stops the workers. Nothing may run.
func (p *pool) close() {
	p.closing.Store(true)
	close(p.wake)
	p.stopped.Wait()
}

// runAll runs phases one after the other.
func (p *pool) runAll(phases []phase) error {
	for _, ph := range phases {
		if err := p.run(ph); err != nil {
			return err
		}
	}
	return nil
}

// run does all parts of a phase and returns the panic of one of them.
func (p *pool) run(ph phase) error {
	if ph.parts == 1 || len(p.scratch) == 1 {
		for part := range ph.parts {
			p.guard(ph, part, p.scratch[0])
		}
	} else if ph.parts > 1 {
		p.phase = ph
		p.unfinished.Store(int32(ph.parts))
		p.remaining.Store(int32(ph.parts))
		p.unpark(ph.parts - 1)
		p.work(p.scratch[0])
		for spins := 0; p.unfinished.Load() > 0; spins++ {
			if p.yields || spins > spinsBeforeParking {
				runtime.Gosched()
			}
		}
	}
	if f := p.failure.Swap(nil); f != nil {
		return f
	}
	return nil
}

// work does parts until none is left.
func (p *pool) work(scratch []float32) {
	for {
		r := p.remaining.Load()
		if r <= 0 {
			return
		}
		if p.remaining.CompareAndSwap(r, r-1) {
			p.guard(p.phase, p.phase.parts-int(r), scratch)
			p.unfinished.Add(-1)
		}
	}
}

// guard does one part and keeps a panic, so that no worker is lost and no part goes uncounted.
func (p *pool) guard(ph phase, part int, scratch []float32) {
	defer func() {
		if value := recover(); value != nil {
			p.failure.CompareAndSwap(nil, &failure{value})
		}
	}()
	ph.run(part, scratch)
}

// unpark wakes up to n parked workers.
func (p *pool) unpark(n int) {
	for range n {
		if !p.takeParked() {
			return
		}
		p.wake <- struct{}{}
	}
}

// takeParked lowers the count of parked workers.
func (p *pool) takeParked() bool {
	for {
		n := p.parked.Load()
		if n == 0 {
			return false
		}
		if p.parked.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

func (p *pool) help(scratch []float32) {
	defer p.stopped.Done()
	for p.await() {
		p.work(scratch)
	}
}

// await returns when there is work, and false when the pool closes.
func (p *pool) await() bool {
	for range p.spins {
		if p.remaining.Load() > 0 {
			return true
		}
		if p.yields {
			runtime.Gosched()
		}
	}
	p.parked.Add(1)
	// Work that came before the count was raised woke nobody, so look again.
	if (p.remaining.Load() > 0 || p.closing.Load()) && p.takeParked() {
		return !p.closing.Load()
	}
	<-p.wake
	return !p.closing.Load()
}
