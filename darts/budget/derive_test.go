package budget

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/internal/philox"
)

// alphas are those of a search that is sure of separable convolutions where sure, and undecided elsewhere.
func alphas(seed uint64, sure map[int]float64) [][]float64 {
	stream := philox.New(seed, 0, 0)
	rows := make([][]float64, 14)
	for i := range rows {
		for column := range space.CNN() {
			rows[i] = append(rows[i], 0.1*stream.Normal(uint64(8*i+column)))
		}
		rows[i][4] += 0.5 + sure[i] // sep_conv_3x3
	}
	return rows
}

// TestDerive: within the limit, the genotype of the alphas themselves; beyond it, one that keeps to it, is close to it,
// and gave up first what the search was least sure of.
func TestDerive(t *testing.T) {
	sure := map[int]float64{0: 5, 1: 5, 13: 5}
	normal, reduce := alphas(1, sure), alphas(2, sure)
	free, err := space.Derive(normal, reduce)
	if err != nil {
		t.Fatal(err)
	}
	cost, err := Of(CIFAR, free)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		limit   Limit
		changed bool
	}{
		{"no limit", Limit{}, false},
		{"as many as it has", Limit{Parameters: cost.Parameters, MultiplyAdds: cost.MultiplyAdds}, false},
		{"one parameter less", Limit{Parameters: cost.Parameters - 1}, true},
		{"fewer multiply-adds", Limit{MultiplyAdds: cost.MultiplyAdds * 4 / 5}, true},
		{"both", Limit{Parameters: cost.Parameters * 7 / 10, MultiplyAdds: cost.MultiplyAdds * 9 / 10}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.limit.Form = CIFAR
			got, err := c.limit.Derive(normal, reduce)
			if err != nil {
				t.Fatal(err)
			}
			if changed := !reflect.DeepEqual(got.Genotype, free); changed != c.changed || (got.Penalty > 0) != c.changed {
				t.Errorf("changed %t by penalty %v, want %t", changed, got.Penalty, c.changed)
			}
			if !c.limit.allows(got.Cost) {
				t.Errorf("%+v is beyond the limit %+v", got.Cost, c.limit)
			}
			if share := c.limit.share(got.Cost); c.limit.Bounds() && share < 0.7 {
				t.Errorf("%+v is far below the limit %+v", got.Cost, c.limit)
			}
			for _, kept := range []space.Edge{got.Genotype.Normal[0], got.Genotype.Normal[1]} {
				if kept.Primitive != space.SepConv3x3 {
					t.Errorf("gave up %v, which the search is sure of", kept)
				}
			}
			again, err := c.limit.Derive(normal, reduce)
			if err != nil || !reflect.DeepEqual(got, again) {
				t.Error("two derivations differ")
			}
		})
	}
}

// TestImpossible: a limit that no cell keeps to is refused before a search begins.
func TestImpossible(t *testing.T) {
	l := Limit{Form: CIFAR, Parameters: 1000}
	if err := l.Check(); err == nil || !strings.Contains(err.Error(), "poolings alone has") {
		t.Errorf("error %v", err)
	}
	if _, err := l.Derive(alphas(1, nil), alphas(2, nil)); err == nil {
		t.Error("derived a network of a thousand parameters")
	}
	least, err := Of(CIFAR, pools())
	if err != nil {
		t.Fatal(err)
	}
	l.Parameters = least.Parameters
	d, err := l.Derive(alphas(1, nil), alphas(2, nil))
	if err != nil || d.Cost.Parameters > least.Parameters || math.IsInf(d.Penalty, 0) {
		t.Errorf("%+v, error %v; want the cheapest cells", d, err)
	}
}
