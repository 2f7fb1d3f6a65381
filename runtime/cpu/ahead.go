package cpu

// ahead is memory that the next unit of work reads or writes (a line comes to the cache before it is written, too). Loops
// that compute ask for it a little at a time, so that a convolution takes less than the sum of the time to compute and the
// time to wait for memory, which is as much again where images come from beyond the caches. No result depends on it; nil is
// nothing.
type ahead struct {
	regions  [][]float32 // those that are left
	elements int         // of all
	work     int         // multiply-adds of the unit of work that computes meanwhile
}

// aheads are those that no part of a task uses now.
var aheads spares[ahead]

// clear forgets all regions. A unit of so many multiply-adds begins.
func (a *ahead) clear(work int) { a.regions, a.elements, a.work = a.regions[:0], 0, max(1, work) }

// add adds a region.
func (a *ahead) add(region []float32) {
	if len(region) > 0 {
		a.regions = append(a.regions, region)
		a.elements += len(region)
	}
}

// mostStep is how many bytes a loop may go on between two times: memory gives no more, and more than a line of the cache
// would leave lines out.
const mostStep = 48

// during returns where a loop with so many multiply-adds begins to ask, and how many bytes it goes on from each time to the
// next, if it asks so many times.
func (a *ahead) during(work, times int) (first *float32, step int) {
	if a == nil || len(a.regions) == 0 || times == 0 {
		return &nowhere, 0
	}
	region := a.regions[0]
	share := min(a.elements*work/a.work, len(region), times*mostStep/4)
	if share < len(region) {
		a.regions[0] = region[share:]
	} else {
		a.regions = a.regions[:copy(a.regions, a.regions[1:])]
	}
	return &region[0], 4 * share / times
}

// nowhere is asked for where there is nothing to ask for.
var nowhere float32
