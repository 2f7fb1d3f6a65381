package recipe

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dartsc/dartsc/compiler/plan"
)

// fits says in what a plan differs from the one that would be compiled with this metadata and memory limit. The name of
// the data set is for people: a plan serves any data of its sizes, classes and normalisation.
func fits(p *plan.Plan, metadata map[string]string, limit int64) error {
	keys := maps.Clone(metadata)
	maps.Copy(keys, p.Metadata)
	delete(keys, "data")
	var different []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		switch got, want := p.Metadata[key], metadata[key]; {
		case got == want:
		case got == "":
			different = append(different, fmt.Sprintf("it does not say its %s, which is %s here", key, want))
		default:
			different = append(different, fmt.Sprintf("its %s is %s, not %s", key, got, want))
		}
	}
	if len(different) > 0 {
		return errors.New("--plan is of other settings: " + strings.Join(different, "; ") + ": compile it with the settings and the --data of this run")
	}
	if need := p.VariableBytes + p.ArenaBytes; limit > 0 && need > limit {
		return fmt.Errorf("--plan takes %.1f MiB, --memory-limit is %.1f MiB: compile it with that limit", float64(need)/(1<<20), float64(limit)/(1<<20))
	}
	return nil
}
