package cpu

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// pool is a fixed set of workers, the caller among them. Between phases the others watch the shares for some
// microseconds before they park: waking a parked thread costs more than most phases take.
//
// A phase is handed out through the shares, one for each worker: neighbouring parts, so that a worker finds what the
// phase before left in its cache, and what comes next is known. Whoever takes a part may read the phase, which stays as it is
// until that part is counted in unfinished.
type pool struct {
	scratch [][]float32 // by worker; 0 is the caller
	spins   int
	yields  bool // more workers than processors: a spinning worker must let others run

	phase      phase
	shares     []share
	unfinished atomic.Int32

	parked  atomic.Int32
	wake    chan struct{} // a token for each worker that parked no longer counts
	closing atomic.Bool
	stopped sync.WaitGroup

	failure atomic.Pointer[failure]
}

// share is parts [next, end) as next<<32 | end. Its worker takes the first of them, others, who have none left, the last.
type share struct {
	atomic.Uint64
	_ [56]byte // a line of the cache for each
}

func (s *share) set(next, end int) { s.Store(uint64(next)<<32 | uint64(end)) }

// left are the parts of a share that has this value.
func left(v uint64) (next, end uint32) { return uint32(v >> 32), uint32(v) }

func (s *share) take(first bool) (part int, ok bool) {
	for {
		v := s.Load()
		next, end := left(v)
		switch {
		case next >= end:
			return 0, false
		case first && s.CompareAndSwap(v, v+1<<32):
			return int(next), true
		case !first && s.CompareAndSwap(v, v-1):
			return int(end - 1), true
		}
	}
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
	p.shares = make([]share, workers)
	for range workers {
		p.scratch = append(p.scratch, view32(aligned(4*scratch)))
	}
	for worker := 1; worker < workers; worker++ {
		p.stopped.Add(1)
		go p.help(worker)
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
		for worker := range p.shares {
			p.shares[worker].set(span(worker, len(p.shares), ph.parts))
		}
		p.unpark(ph.parts - 1)
		p.work(0)
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

// work does parts until none is left: of the worker's own share, then of the next ones.
func (p *pool) work(worker int) {
	for other := range p.shares {
		for {
			part, ok := p.shares[(worker+other)%len(p.shares)].take(other == 0)
			if !ok {
				break
			}
			p.guard(p.phase, part, p.scratch[worker])
			p.unfinished.Add(-1)
		}
	}
}

// available says whether there are parts to take.
func (p *pool) available() bool {
	for i := range p.shares {
		if next, end := left(p.shares[i].Load()); next < end {
			return true
		}
	}
	return false
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

func (p *pool) help(worker int) {
	defer p.stopped.Done()
	for p.await() {
		p.work(worker)
	}
}

// await returns when there is work, and false when the pool closes.
func (p *pool) await() bool {
	for range p.spins {
		if p.available() {
			return true
		}
		if p.yields {
			runtime.Gosched()
		}
	}
	p.parked.Add(1)
	// Work that came before the count was raised woke nobody, so look again.
	if (p.available() || p.closing.Load()) && p.takeParked() {
		return !p.closing.Load()
	}
	<-p.wake
	return !p.closing.Load()
}

// spares are values that nobody uses now: of the parts of all tasks no more than there are workers run at once, so a part
// takes what it needs from here, and a step allocates nothing.
type spares[T any] struct {
	mutex sync.Mutex
	free  []*T
}

func (s *spares[T]) take() *T {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	last := len(s.free) - 1
	if last < 0 {
		return new(T)
	}
	v := s.free[last]
	s.free = s.free[:last]
	return v
}

func (s *spares[T]) give(v *T) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.free = append(s.free, v)
}
