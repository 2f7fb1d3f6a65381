package golden

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/bilevel"
	"github.com/dartsc/dartsc/darts/cnn"
	"github.com/dartsc/dartsc/darts/model"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

// checkPrimitives: every primitive alone, forward, backward, and in evaluation with the statistics it then has.
func checkPrimitives(t *testing.T, c *testCase) {
	var names []string
	if err := json.Unmarshal([]byte(c.meta("cases")), &names); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
			c := &testCase{t, c.file}
			m := primitiveModule(t, name, c.shape(name+"/x"), c.shape(name+"/y"))
			engines(t, m, func(t *testing.T, e engine, tolerance float64) {
				for _, parameter := range c.under(name + "/param/") {
					e.set("op."+parameter, c.values(name+"/param/"+parameter))
				}
				x := c.values(name + "/x")
				got := e.run("train", map[string][]float64{"x": x, "gy": c.values(name + "/gy")})
				compare(t, "y", got["y"], c.values(name+"/y"), tolerance)
				compare(t, "gx", got["gx"], c.values(name+"/gx"), tolerance)
				for _, parameter := range c.under(name + "/gparam/") {
					compare(t, "gradient of "+parameter, got["op."+parameter], c.values(name+"/gparam/"+parameter), tolerance)
				}
				for _, statistic := range c.under(name + "/buffer/") {
					compare(t, statistic, e.get("op."+statistic), c.values(name+"/buffer/"+statistic), tolerance)
				}
				compare(t, "y in evaluation", e.run("eval", map[string][]float64{"x": x})["y"], c.values(name+"/y_eval"), tolerance)
			})
		})
	}
}

// primitiveModule has a program "train" (y, and the vector-Jacobian products with gy) and a program "eval".
func primitiveModule(t *testing.T, name string, xShape, yShape []int) *ir.Module {
	t.Helper()
	parts := strings.Split(name, "/")
	op := cnn.PrimitiveOp{Name: "op", Primitive: space.Primitive(parts[0]), Affine: parts[2] == "affine", NormPool: true}
	fmt.Sscanf(parts[1], "s%d", &op.Stride)
	m := ir.NewModule(name)

	b := ops.NewBuilder(m, "train")
	x, gy := b.Input("x", ir.T(ir.F32, xShape...)), b.Input("gy", ir.T(ir.F32, yShape...))
	s := &cnn.Scope{Builder: b, Train: true, Weights: &model.Weights{}}
	y := op.Build(s, x)
	b.Result("y", y)
	product := b.ReduceSum(b.Mul(y, gy), 0, 1, 2, 3)
	gradients := b.Gradient(product, append([]*ir.Value{x}, s.Weights.Values...)...)
	b.Result("gx", gradients[0])
	for i, v := range s.Weights.Variables {
		b.Result(v.Name, gradients[i+1])
	}
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}

	b = ops.NewBuilder(m, "eval")
	b.Result("y", op.Build(&cnn.Scope{Builder: b, Weights: &model.Weights{}}, b.Input("x", ir.T(ir.F32, xShape...))))
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	return m
}

// checkSearch: whole search steps, the alpha update and then the weight update, and the genotype in the end.
func checkSearch(t *testing.T, c *testCase) {
	m := c.searchModule()
	kinks := &kinks{c: c, module: m}
	engines(t, m, func(t *testing.T, e engine, tolerance float64) {
		c := &testCase{t, c.file}
		alphaTolerance, unrolled := tolerance, c.meta("unrolled") == "true" && tolerance == planTolerance
		if unrolled {
			alphaTolerance = unrolledTolerance
		}
		c.beginSearch(e)
		for step := range c.int("steps") {
			at := fmt.Sprintf("step%d/", step)
			got := c.searchStep(e, at)
			for _, alphas := range []string{cnn.AlphasNormal, cnn.AlphasReduce} {
				gradient, want := got["gradient/"+alphas], c.values(at+"g"+alphas)
				if unrolled {
					want = kinks.nearest(t, step, "gradient/"+alphas, gradient, want, alphaTolerance)
				}
				compare(t, at+"gradient of "+alphas, gradient, want, alphaTolerance)
				compare(t, at+alphas, e.get(alphas), c.values(at+alphas), tolerance)
			}
			compare(t, at+"logits", got["logits"], c.values(at+"logits"), tolerance)
			compare(t, at+"loss", got["loss"], c.values(at+"loss"), tolerance)
			compare(t, at+"norm of the gradient", got["grad_norm"], c.values(at+"grad_norm"), tolerance)
			for _, name := range c.under(at + "grad/") {
				compare(t, at+"gradient of "+name, got["gradient/"+name], c.values(at+"grad/"+name), tolerance)
			}
		}
		for _, name := range c.under("final/") {
			compare(t, "final "+name, e.get(name), c.values("final/"+name), tolerance)
		}
		genotype, err := space.Derive(rows(e.get(cnn.AlphasNormal)), rows(e.get(cnn.AlphasReduce)))
		if err != nil {
			t.Fatal(err)
		}
		if want := c.meta("genotype"); genotype.String() != want {
			t.Errorf("genotype %s, want %s", genotype, want)
		}
	})
}

// searchModule is the search step that a case describes.
func (c *testCase) searchModule() *ir.Module {
	c.Helper()
	shape := c.shape("step0/train_x")
	config := bilevel.Defaults()
	config.Unrolled = c.meta("unrolled") == "true"
	config.Inspect = true
	config.Batch = bilevel.Batch{Size: shape[0], Channels: shape[1], Height: shape[2], Width: shape[3], Raw: true}
	network := cnn.Supernet{Channels: c.int("C"), Layers: c.int("layers"), Classes: c.int("classes")}
	m := ir.NewModule("search")
	if err := bilevel.BuildSearchStep(m, network, config); err != nil {
		c.Fatal(err)
	}
	return m
}

// beginSearch sets the variables as the case begins.
func (c *testCase) beginSearch(e engine) {
	c.Helper()
	for _, name := range c.under("init/") {
		e.set(name, c.values("init/"+name))
	}
	e.set(bilevel.LearningRate, []float64{0.025})
	e.set(bilevel.AlphaLearningRate, []float64{3e-4})
}

// searchStep runs a step on the images of the case at that name.
func (c *testCase) searchStep(e engine, at string) map[string][]float64 {
	c.Helper()
	inputs := map[string][]float64{}
	for input, name := range map[string]string{"train_images": "train_x", "train_labels": "train_y", "valid_images": "valid_x", "valid_labels": "valid_y"} {
		inputs[input] = c.values(at + name)
	}
	return e.run(bilevel.SearchStep, inputs)
}

// rows splits alphas into one row an edge.
func rows(alphas []float64) (out [][]float64) {
	k := len(space.CNN())
	for i := 0; i < len(alphas); i += k {
		out = append(out, alphas[i:i+k])
	}
	return out
}

// checkDerived: a derived network in training (with its auxiliary head) and in evaluation.
func checkDerived(t *testing.T, c *testCase) {
	network := c.derived()
	m := derivedModule(t, network, c.shape("x"))
	if want := c.meta("params_without_auxiliary"); want != "" {
		if got := weightsOf(m) - auxiliaryWeightsOf(m); fmt.Sprint(got) != want {
			t.Errorf("%d parameters without the auxiliary head, want %s", got, want)
		}
	}
	engines(t, m, func(t *testing.T, e engine, tolerance float64) {
		c := &testCase{t, c.file}
		for _, name := range c.under("init/") {
			e.set(name, c.values("init/"+name))
		}
		got := e.run("train", map[string][]float64{"x": c.values("x"), "y": c.values("y")})
		compare(t, "logits", got["logits"], c.values("logits"), tolerance)
		if network.Auxiliary {
			compare(t, "auxiliary logits", got["logits_aux"], c.values("logits_aux"), tolerance)
		}
		compare(t, "loss", got["loss"], c.values("loss"), tolerance)
		for _, name := range c.under("grad/") {
			compare(t, "gradient of "+name, got[name], c.values("grad/"+name), tolerance)
		}
		for _, name := range c.under("buffer/") {
			compare(t, name, e.get(name), c.values("buffer/"+name), tolerance)
		}
		compare(t, "logits in evaluation", e.run("eval", map[string][]float64{"x": c.values("x")})["logits"], c.values("logits_eval"), tolerance)
	})
}

// derived is the network that the metadata describe.
func (c *testCase) derived() cnn.Derived {
	c.Helper()
	genotype, err := space.Parse(c.meta("arch"))
	if err != nil {
		c.Fatal(err)
	}
	return cnn.Derived{
		Genotype: genotype, Channels: c.int("C"), Layers: c.int("layers"), Classes: c.int("classes"),
		ImageNet: c.meta("imagenet") == "true", Auxiliary: c.meta("auxiliary") == "true",
	}
}

func derivedModule(t *testing.T, network cnn.Derived, shape []int) *ir.Module {
	t.Helper()
	m := ir.NewModule("derived")
	b := ops.NewBuilder(m, "train")
	x, y := b.Input("x", ir.T(ir.F32, shape...)), b.Input("y", ir.T(ir.I32, shape[0]))
	s := &cnn.Scope{Builder: b, Train: true, Weights: &model.Weights{}}
	logits, auxiliary := network.Forward(s, x)
	b.Result("logits", logits)
	loss := b.CrossEntropy(logits, y, 0, "mean")
	for _, head := range auxiliary {
		b.Result("logits_aux", head)
		loss = b.Axpby(loss, b.CrossEntropy(head, y, 0, "mean"), 1, 0.4)
	}
	b.Result("loss", loss)
	for i, g := range b.Gradient(loss, s.Weights.Values...) {
		b.Result(s.Weights.Variables[i].Name, g)
	}
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	b = ops.NewBuilder(m, "eval")
	logits, _ = network.Forward(&cnn.Scope{Builder: b, Weights: &model.Weights{}}, b.Input("x", ir.T(ir.F32, shape...)))
	b.Result("logits", logits)
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	return m
}

func weightsOf(m *ir.Module) (n int) {
	for _, v := range m.Variables {
		if v.Kind == ir.Weight {
			n += v.Type.Elements()
		}
	}
	return n
}

func auxiliaryWeightsOf(m *ir.Module) (n int) {
	for _, v := range m.Variables {
		if v.Kind == ir.Weight && strings.HasPrefix(v.Name, "auxiliary_head.") {
			n += v.Type.Elements()
		}
	}
	return n
}

// checkCount compares the parameters of a network with and without its auxiliary head; names are like
// "cifar/DARTS_V2/C36/L20/aux1" and "search/C16/L8".
func checkCount(t *testing.T, name string, want []int) {
	parts := strings.Split(name, "/")
	m := ir.NewModule(name)
	b := ops.NewBuilder(m, "train")
	s := &cnn.Scope{Builder: b, Train: true, Weights: &model.Weights{}}
	var channels, layers, aux int
	var network cnn.Network
	size := 32
	if parts[0] == "search" {
		fmt.Sscanf(strings.Join(parts[1:], " "), "C%d L%d", &channels, &layers)
		network = cnn.Supernet{Channels: channels, Layers: layers, Classes: 10}
	} else {
		fmt.Sscanf(strings.Join(parts[2:], " "), "C%d L%d aux%d", &channels, &layers, &aux)
		genotype, err := space.Parse(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		derived := cnn.Derived{Genotype: genotype, Channels: channels, Layers: layers, Classes: 10, Auxiliary: aux == 1}
		if parts[0] == "imagenet" {
			derived.ImageNet, derived.Classes, size = true, 1000, 224
		}
		network = derived
	}
	logits, _ := network.Forward(s, b.Input("x", ir.T(ir.F32, 2, 3, size, size)))
	b.Result("logits", logits)
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	all := weightsOf(m)
	if got := []int{all, all - auxiliaryWeightsOf(m)}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("parameters with and without auxiliary head %v, want %v", got, want)
	}
}
