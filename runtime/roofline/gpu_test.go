package roofline

import "testing"

func TestFindGPU(t *testing.T) {
	for _, c := range []struct{ name, target, want string }{
		{"", "cuda:sm_90", "h200"}, {"", "cuda:sm_80", "a100"}, {"h100", "cuda:sm_90", "h100"},
		{"h100", "cuda:sm_80", ""}, {"", "cpu", ""}, {"rtx", "cuda:sm_90", ""},
	} {
		if got, ok := FindGPU(c.name, c.target); got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%q for %s: got %q, %t; want %q", c.name, c.target, got.Name, ok, c.want)
		}
	}
	for _, name := range GPUs() {
		i := 0
		for gpus[i].Name != name {
			i++
		}
		if r := gpus[i].Roofline(); !r.All.sound() || r.Reached <= 0 || r.Reached > 1 || r.Blocks <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
