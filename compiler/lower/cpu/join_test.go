package cpu

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler/lower"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/ir"
)

// updates builds programs by hand: tensors by name, launches as "kernel(operands) results".
type updates struct {
	lower.Program
	names map[string]int
}

func (u *updates) tensor(name string) int {
	t, ok := u.names[name]
	if !ok {
		added := lower.Tensor{Tensor: plan.Tensor{DType: plan.F32, Shape: []int{4}}}
		if strings.HasPrefix(name, "@") {
			added.Home = lower.InVariable(&ir.Variable{Name: name})
		}
		t = u.Add(added)
		u.names[name] = t
	}
	return t
}

func (u *updates) launch(kernel, operands, results string) {
	l := lower.Launch{Launch: plan.Launch{Kernel: kernel, Bytes: 16, FLOPs: 1}}
	for _, name := range strings.Fields(operands) {
		l.Operands = append(l.Operands, u.tensor(name))
	}
	for _, name := range strings.Fields(results) {
		l.Results = append(l.Results, u.tensor(name))
	}
	if kernel == "weighted_sum" {
		l.Params = plan.Params{"select": []int{0, 1}}
	}
	if kernel == "elementwise" {
		l.InPlace = []lower.Alias{{Operand: 0, Result: 0}}
	}
	u.Launches = append(u.Launches, l)
}

// text shows launches as they were given, with the number of sets before those that are joined.
func (u *updates) text() string {
	name := map[int]string{}
	for n, t := range u.names {
		name[t] = n
	}
	var lines []string
	for _, l := range u.Launches {
		line := l.Kernel
		if l.Sets > 0 {
			line = fmt.Sprintf("%d×%s", l.Sets, l.Kernel)
		}
		for _, t := range l.Operands {
			line += " " + name[t]
		}
		line += " →"
		for _, t := range l.Results {
			line += " " + name[t]
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestJoin(t *testing.T) {
	for _, c := range []struct {
		name     string
		launches [][3]string
		want     []string
	}{
		{"updates at the end", [][3]string{
			{"sgd", "@w g", "w"}, {"conv2d", "x", "y"}, {"sgd", "@v h", "v"},
		}, []string{"conv2d x → y", "2×sgd @w g @v h → w v"}},
		{"the sums of what one cotangent goes through", [][3]string{
			{"batch_norm_sums", "g x m v", "s t"}, {"batch_norm_sums", "h y m v", "a b"}, {"separable_grad", "g x s t", "dx"},
			{"batch_norm_sums", "g z m v", "p q"}, {"batch_norm_sums", "g dx m v", "c d"},
		}, []string{"2×batch_norm_sums g x m v g z m v → s t p q", "batch_norm_sums h y m v → a b", "separable_grad g x s t → dx", "batch_norm_sums g dx m v → c d"}},
		{"weighted sums of the same terms", [][3]string{
			{"weighted_sum", "w g h", "a"}, {"relu", "a", "b"}, {"weighted_sum", "w g h", "c"}, {"weighted_sum", "w g c", "d"},
		}, []string{"weighted_sum w g h → a c", "relu a → b", "weighted_sum w g c → d"}},
		{"running statistics wait for all means", [][3]string{
			{"batch_stats", "x", "m"}, {"elementwise", "@r m", "r"}, {"batch_stats", "y", "n"}, {"elementwise", "@s n", "s"},
		}, []string{"batch_stats x → m", "batch_stats y → n", "2×elementwise @r m @s n → r s"}},
		{"two passes over one statistic", [][3]string{
			{"elementwise", "@r m", "r1"}, {"elementwise", "@s n", "s1"}, {"elementwise", "r1 m", "r2"}, {"elementwise", "s1 n", "s2"},
		}, []string{"2×elementwise @r m @s n → r1 s1", "2×elementwise r1 m s1 n → r2 s2"}},
		{"needed between", [][3]string{
			{"elementwise", "@w e", "w"}, {"conv2d", "x w", "y"}, {"elementwise", "@v e", "v"}, {"conv2d", "y v", "z"}, {"elementwise", "@u z", "u"},
		}, []string{"2×elementwise @w e @v e → w v", "conv2d x w → y", "conv2d y v → z", "elementwise @u z → u"}},
		{"changed by a loop", [][3]string{
			{"elementwise", "@w h", "w"}, {"scan", "h", "h"}, {"elementwise", "@v h", "v"}, {"scan", "h", "h"},
		}, []string{"elementwise @w h → w", "scan h → h", "elementwise @v h → v", "scan h → h"}},
		{"no variable", [][3]string{
			{"elementwise", "x y", "a"}, {"elementwise", "x z", "b"},
		}, []string{"elementwise x y → a", "elementwise x z → b"}},
		{"nothing", nil, []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := &updates{names: map[string]int{}}
			for _, l := range c.launches {
				u.launch(l[0], l[1], l[2])
			}
			join(&u.Program)
			if got, want := u.text(), strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestJoinedLaunch: costs add up, what all sets read counts once, and what is in place stays within its set.
func TestJoinedLaunch(t *testing.T) {
	u := &updates{names: map[string]int{}}
	for i := range mostSets + 2 {
		u.launch("elementwise", fmt.Sprintf("@w%d rate", i), fmt.Sprintf("w%d", i))
	}
	join(&u.Program)
	if len(u.Launches) != 2 || u.Launches[0].Sets != mostSets || u.Launches[1].Sets != 2 {
		t.Fatalf("got %d launches: %s", len(u.Launches), u.text())
	}
	l := u.Launches[1]
	if l.FLOPs != 2 || l.Bytes != 5*16 {
		t.Errorf("%v operations and %v bytes, want 2 and 80", l.FLOPs, l.Bytes)
	}
	if want := []lower.Alias{{Operand: 0, Result: 0}, {Operand: 2, Result: 1}}; !slices.Equal(l.InPlace, want) {
		t.Errorf("in place %v, want %v", l.InPlace, want)
	}
}
