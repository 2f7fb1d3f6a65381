package cpu

import (
	"context"
	"fmt"
	goruntime "runtime"
	"time"

	"github.com/klauspost/cpuid/v2"

	"github.com/dartsc/dartsc/runtime/roofline"
)

// RooflineKey implements roofline.Device.
func (d Device) RooflineKey() roofline.Key {
	processor := cpuid.CPU.BrandName
	if processor == "" {
		processor = goruntime.GOARCH
	}
	processor = fmt.Sprintf("%s, family %d, model %d, stepping %d", processor, cpuid.CPU.Family, cpuid.CPU.Model, cpuid.CPU.Stepping)
	return roofline.Key{Processor: processor, Kernels: Kernels(), Workers: d.workers()}
}

// MeasureRoofline implements roofline.Device, with the innermost loops that the kernels are made of: products of
// matrices that stay in the first cache, and sums over vectors that fill half of a cache, or much more than all caches.
func (d Device) MeasureRoofline(ctx context.Context) (roofline.Roofline, error) {
	if badChoice != nil {
		return roofline.Roofline{}, badChoice
	}
	r := roofline.Roofline{Key: d.RooflineKey()}
	levels := memoryLevels(d.workers())
	memory, free, err := allocate(levels[len(levels)-1].used)
	if err != nil {
		return roofline.Roofline{}, err
	}
	defer free()
	data := view32(memory)
	for i := range data { // memory that nobody wrote is one page of zeros
		data[i] = 1
	}
	one := meter{ctx: ctx, pool: newPool(1, productScratch()), workers: 1}
	defer one.pool.close()
	all := meter{ctx: ctx, pool: newPool(d.workers(), productScratch()), workers: d.workers()}
	defer all.pool.close()
	for range measuringRounds { // what else the machine does comes and goes: the best round counts
		keepBest(&r.One, one.speeds(levels, data[:len(data)/d.workers()], d.workers()))
		keepBest(&r.All, all.speeds(levels, data, d.workers()))
	}
	r.Launch = 1e6 * all.best(1, func(int, []float32) {})
	return r, ctx.Err()
}

// keepBest raises speeds to those of another round.
func keepBest(s *roofline.Speeds, round roofline.Speeds) {
	if s.GFLOPS == 0 {
		*s = round
		return
	}
	s.GFLOPS = max(s.GFLOPS, round.GFLOPS)
	for i, l := range round.Levels {
		s.Levels[i].Read, s.Levels[i].Update = max(s.Levels[i].Read, l.Read), max(s.Levels[i].Update, l.Update)
	}
}

// memoryLevel is a level of memory and how much of it a measurement uses.
type memoryLevel struct {
	name        string
	holds, used int64 // bytes, for all workers together
}

// memoryLevels takes the sizes of the caches from the processor, or common ones where it does not tell. The third cache
// is shared, often with other machines too, so only half of it is counted on.
func memoryLevels(workers int) []memoryLevel {
	second, third := int64(cpuid.CPU.Cache.L2), int64(cpuid.CPU.Cache.L3)
	if second <= 0 {
		second = 1 << 20
	}
	if third <= 0 {
		third = 16 << 20
	}
	second *= int64(workers)
	third = max(third/2, 2*second)
	const leastBeyond, mostBeyond = 256 << 20, 512 << 20 // of 128 MiB a cache of 32 still gives a part
	beyond := max(min(8*third, mostBeyond), leastBeyond)
	return []memoryLevel{{"L2", second, second / 2}, {"L3", third, third / 2}, {"DRAM", 0, beyond}}
}

// meter measures one number of workers.
type meter struct {
	ctx     context.Context
	pool    *pool
	workers int
}

const (
	measuringRounds = 4
	samplingTime    = 12 * time.Millisecond // of one figure in a round
	leastSamples    = 2
)

// speeds measures everything once. Of each level it uses this meter's part of so many workers'.
func (m meter) speeds(levels []memoryLevel, data []float32, workers int) roofline.Speeds {
	s := roofline.Speeds{GFLOPS: m.products()}
	for _, l := range levels {
		part := data[:l.used/4/int64(workers)*int64(m.workers)]
		s.Levels = append(s.Levels, roofline.Level{Name: l.name, Bytes: l.holds, Read: m.stream(part, 2, readPart), Update: m.stream(part, 3, updatePart)})
	}
	return s
}

// best returns the seconds of the fastest of many runs of a task, divided by its repetitions; every worker does a part.
// A run is short, so that one of them comes between what else the machine does.
func (m meter) best(repetitions int, part func(part int, scratch []float32)) float64 {
	fastest := time.Duration(1<<63 - 1)
	start := time.Now()
	for n := 0; (n < leastSamples || time.Since(start) < samplingTime) && m.ctx.Err() == nil; n++ {
		began := time.Now()
		if err := m.pool.run(phase{parts: m.workers, run: part}); err != nil {
			panic(err) // the loops of a kernel over memory of their own
		}
		fastest = min(fastest, time.Since(began))
	}
	return fastest.Seconds() / float64(repetitions)
}

// The product that is timed: whole tiles of every set, together within 32 KiB.
const productRows, productColumns, productDepth = 42, 32, 64

func productScratch() int {
	return productRows*(productColumns+productDepth) + productDepth*productColumns + vec.packed(productDepth, productColumns)
}

// products returns GFLOP/s.
func (m meter) products() float64 {
	const repetitions = 200
	work := func(_ int, scratch []float32) {
		c, rest := scratch[:productRows*productColumns], scratch[productRows*productColumns:]
		a, rest := rest[:productRows*productDepth], rest[productRows*productDepth:]
		plain, b := rest[:productDepth*productColumns], rest[productDepth*productColumns:]
		vec.pack(b, plain, productColumns, 1, productDepth, productColumns)
		for range repetitions {
			vec.gemm(c, productColumns, a, productDepth, b, productRows, productColumns, productDepth, false, nil)
		}
	}
	operations := 2 * productRows * productColumns * productDepth * m.workers
	return float64(operations) / m.best(repetitions, work) / 1e9
}

// stream returns GB/s of a loop over two halves of the data, of which it moves so many: reading both, or reading both
// and writing one.
func (m meter) stream(data []float32, halves int, loop func(x, y []float32)) float64 {
	const least = 2 << 20 // elements in a run, so that it takes longer than its start
	repetitions := max(1, least/len(data))
	half := len(data) / 2
	work := func(part int, _ []float32) {
		from, to := span(part, m.workers, half)
		for range repetitions {
			loop(data[from:to], data[half+from:half+to])
		}
	}
	return float64(4*half*halves) / m.best(repetitions, work) / 1e9
}

func readPart(x, y []float32) { vec.dot(x, y) }

func updatePart(x, y []float32) { vec.axpy(y, 1e-9, x) }
