package ops_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// TestKnownAnswers holds the reference against numbers worked out by hand.
func TestKnownAnswers(t *testing.T) {
	count := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}
	ln := math.Log
	tests := []struct {
		name  string
		in    []ir.Type
		data  [][]float64
		build func(b *ops.Builder, in []*ir.Value)
		want  [][]float64
	}{
		{"conv2d sums the neighbourhood", types(f64(1, 1, 3, 3), f64(1, 1, 3, 3)), [][]float64{count, {1, 1, 1, 1, 1, 1, 1, 1, 1}},
			binary(func(b *ops.Builder, x, w *ir.Value) *ir.Value { return b.Conv2D(x, w, ops.Conv(1, 1)) }),
			[][]float64{{12, 21, 16, 27, 45, 33, 24, 39, 28}}},
		{"conv2d does not mirror the kernel", types(f64(1, 1, 3, 3), f64(1, 1, 3, 3)), [][]float64{count, {0, 0, 0, 0, 0, 1, 0, 0, 0}},
			binary(func(b *ops.Builder, x, w *ir.Value) *ir.Value { return b.Conv2D(x, w, ops.Conv(1, 1)) }),
			[][]float64{{2, 3, 0, 5, 6, 0, 8, 9, 0}}},
		{"conv2d with stride 2 starts at the corner", types(f64(1, 1, 3, 3), f64(1, 1, 1, 1)), [][]float64{count, {10}},
			binary(func(b *ops.Builder, x, w *ir.Value) *ir.Value { return b.Conv2D(x, w, ops.Conv(2, 0)) }),
			[][]float64{{10, 30, 70, 90}}},
		{"conv2d with negative pads crops", types(f64(1, 1, 3, 3), f64(1, 1, 1, 1)), [][]float64{count, {1}},
			binary(func(b *ops.Builder, x, w *ir.Value) *ir.Value {
				return b.Conv2D(x, w, convAttrs([2]int{2, 2}, [4]int{-1, -1, 1, 1}, one, 1))
			}),
			[][]float64{{5, 0, 0, 0}}},
		{"conv2d keeps groups apart", types(f64(1, 2, 1, 1), f64(2, 1, 1, 1)), [][]float64{{3, 5}, {10, 100}},
			binary(func(b *ops.Builder, x, w *ir.Value) *ir.Value {
				return b.Conv2D(x, w, convAttrs(one, [4]int{}, one, 2))
			}),
			[][]float64{{30, 500}}},

		{"avg_pool2d divides by what is inside", types(f64(1, 1, 3, 3)), [][]float64{count},
			unary(func(b *ops.Builder, x *ir.Value) *ir.Value { return b.AvgPool2D(x, ops.Pool(3, 1, 1)) }),
			[][]float64{{3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7}}},
		{"avg_pool2d including pads divides by the window", types(f64(1, 1, 3, 3)), [][]float64{count},
			unary(func(b *ops.Builder, x *ir.Value) *ir.Value {
				a := ops.Pool(3, 2, 1)
				a.CountIncludePad = true
				return b.AvgPool2D(x, a)
			}),
			[][]float64{{12. / 9, 16. / 9, 24. / 9, 28. / 9}}},
		{"max_pool2d of negative numbers", types(f64(1, 1, 2, 2)), [][]float64{{-4, -3, -2, -1}},
			unary(func(b *ops.Builder, x *ir.Value) *ir.Value { return b.MaxPool2D(x, ops.Pool(3, 1, 1)) }),
			[][]float64{{-1, -1, -1, -1}}},
		{"max_pool2d_grad: the first of equals takes all", types(f64(1, 1, 1, 2), f64(1, 1, 2, 3)), [][]float64{{1, 10}, {5, 7, 7, 7, 0, 7}},
			binary(func(b *ops.Builder, g, x *ir.Value) *ir.Value { return b.MaxPool2DGrad(g, x, ops.Pool(2, 1, 0)) }),
			[][]float64{{0, 11, 0, 0, 0, 0}}},

		{"batch_norm_train of two", types(f64(2, 1), f64(1), f64(1)), [][]float64{{1, 3}, {2}, {5}},
			func(b *ops.Builder, in []*ir.Value) { b.BatchNormTrain(in[0], in[1:], 0) },
			[][]float64{{3, 7}, {2}, {1}}},
		{"batch_norm", types(f64(1, 1, 2), f64(1), f64(1)), [][]float64{{4, 8}, {2}, {3}},
			func(b *ops.Builder, in []*ir.Value) { b.BatchNorm(in[0], in[1], in[2], nil, 1) },
			[][]float64{{1, 3}}},

		{"softmax", types(f64(1, 2)), [][]float64{{0, ln(3)}}, unary((*ops.Builder).Softmax), [][]float64{{0.25, 0.75}}},
		{"softmax of large numbers", types(f64(1, 2)), [][]float64{{1000, 1000}}, unary((*ops.Builder).Softmax), [][]float64{{0.5, 0.5}}},
		{"cross_entropy, smoothed", types(f64(1, 2), ir.T(ir.I32, 1)), [][]float64{{0, ln(3)}, {0}},
			func(b *ops.Builder, in []*ir.Value) { b.CrossEntropy(in[0], in[1], 0.2, "mean") },
			[][]float64{{-0.9*ln(0.25) - 0.1*ln(0.75)}}},
		{"cross_entropy: mean over the rows that count", types(f64(3, 2), ir.T(ir.I32, 3)), [][]float64{{0, ln(3), 5, -5, ln(3), 0}, {0, -1, 0}},
			func(b *ops.Builder, in []*ir.Value) { b.CrossEntropy(in[0], in[1], 0, "mean") },
			[][]float64{{(-ln(0.25) - ln(0.75)) / 2}}},
		{"cross_entropy of a hopeless row", types(f64(1, 2), ir.T(ir.I32, 1)), [][]float64{{0, 1000}, {0}},
			func(b *ops.Builder, in []*ir.Value) { b.CrossEntropy(in[0], in[1], 0, "sum") }, [][]float64{{1000}}},
		{"correct: a tie goes to the first, padding does not count", types(f64(4, 3), ir.T(ir.I32, 4)),
			[][]float64{{1, 1, 0, 1, 1, 0, 9, 0, 0, 0, 0, 9}, {0, 1, -1, 2}},
			func(b *ops.Builder, in []*ir.Value) { b.Correct(in[0], in[1], 1) }, [][]float64{{2}}},
		{"correct: a class without a logit", types(f64(1, 2), ir.T(ir.I32, 1)), [][]float64{{1, 2}, {7}},
			func(b *ops.Builder, in []*ir.Value) { b.Correct(in[0], in[1], 5) }, [][]float64{{0}}},
		{"weighted_sum", types(f64(2, 2), f64(2), f64(2)), [][]float64{{1, 2, 3, 4}, {1, 10}, {100, 1000}},
			func(b *ops.Builder, in []*ir.Value) { b.WeightedSum(in[0], in[1:], []int{3, 1}) }, [][]float64{{204, 2040}}},

		{"clip_scale of a long gradient", types(f64()), [][]float64{{10}}, unary(func(b *ops.Builder, x *ir.Value) *ir.Value { return b.ClipScale(x, 5) }),
			[][]float64{{5 / (10 + 1e-6)}}},
		{"clip_scale of a short gradient", types(f64()), [][]float64{{2}}, unary(func(b *ops.Builder, x *ir.Value) *ir.Value { return b.ClipScale(x, 5) }),
			[][]float64{{1}}},
		{"global_norm", types(f64(2), f64()), [][]float64{{2, 3}, {6}}, func(b *ops.Builder, in []*ir.Value) { b.GlobalNorm(in...) }, [][]float64{{7}}},
		{"cast cuts towards zero", types(f64(3)), [][]float64{{-1.7, 1.7, 3}}, unary(func(b *ops.Builder, x *ir.Value) *ir.Value { return b.Cast(x, ir.I32) }),
			[][]float64{{-1, 1, 3}}},
		{"normalize_image", types(ir.T(ir.U8, 1, 1, 2, 2)), [][]float64{{255, 0, 51, 102}},
			func(b *ops.Builder, in []*ir.Value) { b.NormalizeImage(in[0], []float64{0.5, 0}, []float64{0.5, 0.1}) },
			[][]float64{{1, -0.6, 0, 4}}},
		{"transpose", types(f64(2, 3)), [][]float64{{1, 2, 3, 4, 5, 6}}, unary(func(b *ops.Builder, x *ir.Value) *ir.Value { return b.Transpose(x, 1, 0) }),
			[][]float64{{1, 4, 2, 5, 3, 6}}},
		{"concat along the second axis", types(f64(2, 1), f64(2, 2)), [][]float64{{1, 4}, {2, 3, 5, 6}},
			func(b *ops.Builder, in []*ir.Value) { b.Concat(1, in...) }, [][]float64{{1, 2, 3, 4, 5, 6}}},
		{"slice", types(f64(3, 3)), [][]float64{count}, unary(func(b *ops.Builder, x *ir.Value) *ir.Value { return b.Slice(x, []int{1, 0}, []int{3, 2}) }),
			[][]float64{{4, 5, 7, 8}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opCase{name: test.name, in: test.in, build: test.build}.program(t)
			inputs := map[string]*ops.Tensor{}
			for i, typ := range test.in {
				x, err := ops.FromSlice(typ, test.data[i])
				if err != nil {
					t.Fatal(err)
				}
				inputs[fmt.Sprintf("x%d", i)] = x
			}
			got := run(t, p, inputs)
			for i, want := range test.want {
				near(t, fmt.Sprintf("result %d", i), got[fmt.Sprintf("y%d", i)].Data, want)
			}
		})
	}
}

func near(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) || relativeError(got, want) > 1e-12 {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// TestDropPath: each row is there whole, scaled by 1/keep, or not at all; all streams and steps differ, and the mean is
// kept.
func TestDropPath(t *testing.T) {
	c := opCase{name: "drop_path", in: types(f64(2000, 2), f64(), i64, i64),
		build: func(b *ops.Builder, in []*ir.Value) { b.DropPath(in[0], in[1], in[2], in[3], 7) }}
	p := c.program(t)
	x := ops.NewTensor(c.in[0])
	for i := range x.Data {
		x.Data[i] = 1
	}
	kept := func(probability, seed, step float64) float64 {
		y := run(t, p, map[string]*ops.Tensor{"x0": x, "x1": ops.Scalar(ir.F64, probability), "x2": ops.Scalar(ir.I64, seed), "x3": ops.Scalar(ir.I64, step)})["y0"]
		rows := 0.0
		for i := 0; i < len(y.Data); i += 2 {
			if y.Data[i] != y.Data[i+1] || y.Data[i] != 0 && math.Abs(y.Data[i]*(1-probability)-1) > 1e-6 {
				t.Fatalf("row %d: got %v", i/2, y.Data[i:i+2])
			}
			if y.Data[i] != 0 {
				rows++
			}
		}
		return rows
	}
	if got := kept(0, 1, 1); got != 2000 {
		t.Errorf("probability 0: got %v rows, want all", got)
	}
	if got := kept(1, 1, 1); got != 0 {
		t.Errorf("probability 1: got %v rows, want none", got)
	}
	first, second := kept(0.25, 1, 1), kept(0.25, 1, 2)
	for _, got := range []float64{first, second} {
		if math.Abs(got-1500) > 100 { // five deviations
			t.Errorf("probability 0.25: got %v rows of 2000", got)
		}
	}
}

// TestOptimisers runs two updates of each, the state in variables, against their closed forms.
func TestOptimisers(t *testing.T) {
	scalar := f64()
	t.Run("sgd", func(t *testing.T) {
		m := ir.NewModule("m")
		b := ops.NewBuilder(m, "update")
		w := b.Declare(ir.Variable{Name: "w", Type: f64(1), Init: ir.Init{Value: 1}})
		velocity := b.Declare(ir.Variable{Name: "velocity", Kind: ir.Moment, Type: f64(1)})
		g := b.Input("g", f64(1))
		w2, velocity2 := b.SGD(b.Read(w), g, b.Read(velocity), b.Constant(scalar, 0.1), b.Constant(scalar, 2), 0.9, 0.1)
		b.Assign(w, w2)
		b.Assign(velocity, velocity2)
		// d = 2·0.5 + 0.1·1 = 1.1, w = 1 - 0.11; d = 2·0.25 + 0.089 = 0.589, velocity = 0.99 + 0.589, w = 0.89 - 0.1579
		state := update(t, m, b, 0.5, 0.25)
		near(t, "velocity", state["velocity"].Data, []float64{1.579})
		near(t, "w", state["w"].Data, []float64{0.7321})
	})
	t.Run("adam", func(t *testing.T) {
		m := ir.NewModule("m")
		b := ops.NewBuilder(m, "update")
		p := b.Declare(ir.Variable{Name: "p", Kind: ir.Alpha, Type: f64(1), Init: ir.Init{Value: 1}})
		first := b.Declare(ir.Variable{Name: "m", Kind: ir.Moment, Type: f64(1)})
		second := b.Declare(ir.Variable{Name: "v", Kind: ir.Moment, Type: f64(1)})
		updates := b.Declare(ir.Variable{Name: "t", Kind: ir.Moment, Type: scalar})
		g := b.Input("g", f64(1))
		count := b.Add(b.Read(updates), b.Constant(scalar, 1))
		p2, m2, v2 := b.Adam(b.Read(p), g, b.Read(first), b.Read(second), b.Constant(scalar, 0.1), count, ops.AdamAttrs{Beta1: 0.5, Beta2: 0.5, Eps: 0.25})
		b.Assign(p, p2)
		b.Assign(first, m2)
		b.Assign(second, v2)
		b.Assign(updates, count)
		// Unbiased, the moments are 1 and 1, then -0.75/0.75 = -1 and 2.25/0.75 = 3.
		state := update(t, m, b, 1, -2)
		near(t, "m", state["m"].Data, []float64{-0.75})
		near(t, "v", state["v"].Data, []float64{2.25})
		near(t, "p", state["p"].Data, []float64{1 - 0.1/1.25 + 0.1/(math.Sqrt(3)+0.25)})
	})
}

// update runs the program once for each gradient and returns the variables.
func update(t *testing.T, m *ir.Module, b *ops.Builder, gradients ...float64) map[string]*ops.Tensor {
	t.Helper()
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	state := ops.Variables(m)
	for _, g := range gradients {
		if _, err := ops.Run(p, state, map[string]*ops.Tensor{"g": {Type: f64(1), Data: []float64{g}}}); err != nil {
			t.Fatal(err)
		}
	}
	return state
}

// TestRun covers what the interpreter does itself: fusions, and the errors of a caller.
func TestRun(t *testing.T) {
	m := ir.NewModule("m")
	body := ops.NewBuilder(m, "body")
	inner := body.Input("a", f64(2))
	body.Result("b", body.Mul(body.Relu(inner), inner))
	b := ops.NewBuilder(m, "p")
	w := b.Declare(ir.Variable{Name: "w", Type: f64(2), Init: ir.Init{Value: 3}})
	x := b.Input("x", f64(2))
	b.Result("y", b.Add(b.Fuse(body.Program, []*ir.Value{x})[0], b.Read(w)))
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(m, ops.Rules); err != nil {
		t.Fatal(err)
	}
	input := map[string]*ops.Tensor{"x": {Type: f64(2), Data: []float64{-2, 4}}}
	got, err := ops.Run(p, ops.Variables(m), input)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "y", got["y"].Data, []float64{3, 19})
	fused := p.Ops[0]
	if got, want := ops.FLOPs(fused), 4.0; got != want {
		t.Errorf("FLOPs of the fusion: got %v, want %v", got, want)
	}
	if got, want := ops.Bytes(fused), 32.0; got != want {
		t.Errorf("bytes of the fusion: got %v, want %v", got, want)
	}

	errors := []struct {
		name              string
		variables, inputs map[string]*ops.Tensor
		want              string
	}{
		{"no input", ops.Variables(m), nil, `program p: input "x" is missing`},
		{"input of another type", ops.Variables(m), map[string]*ops.Tensor{"x": ops.Scalar(ir.F64, 1)}, `program p: input "x" is f64[] with 1 elements, wants f64[2]`},
		{"input without elements", ops.Variables(m), map[string]*ops.Tensor{"x": {Type: f64(2)}}, `program p: input "x" is f64[2] with 0 elements, wants f64[2]`},
		{"no variable", nil, input, "program p: read: variable w has no value of type f64[2]"},
	}
	for _, test := range errors {
		if _, err := ops.Run(p, test.variables, test.inputs); err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.name, err, test.want)
		}
	}
}
