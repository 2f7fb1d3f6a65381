package bilevel

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/darts/rnn"
	"github.com/dartsc/dartsc/darts/space"
	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
)

// smallText is a search and a training of a size for tests, with every dropout.
func smallText(t *testing.T, unrolled bool, steps int) (*ir.Module, rnn.Language, TextConfig) {
	t.Helper()
	l := rnn.Language{Vocabulary: 11, Hidden: 6, Dropout: rnn.Dropout{Words: 0.1, Embedding: 0.2, Input: 0.4, Hidden: 0.25, Output: 0.5}}
	c := TextDefaults()
	c.Unrolled, c.Rows, c.SmallRows, c.Steps, c.Activation = unrolled, 8, 4, steps, 0.3
	m := ir.NewModule("text")
	if err := BuildTextSearchStep(m, l, c); err != nil {
		t.Fatal(err)
	}
	return m, l, c
}

func words(n int, from uint64) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32((uint64(i)*7 + from*13 + uint64(i*i)) % 11)
	}
	return out
}

// TestTextSearchAgainstReference: whole steps with dropout, regularisation and two groups, beside the interpreter.
func TestTextSearchAgainstReference(t *testing.T) {
	for _, unrolled := range []bool{false, true} {
		const steps, length = 5, 4
		m, _, c := smallText(t, unrolled, steps)
		plain, err := compiler.Transform(context.Background(), m, compiler.Options{Verify: true})
		if err != nil {
			t.Fatal(err)
		}
		s := openText(t, m)
		variables := ops.Variables(plain)
		for _, v := range m.Variables {
			if v.Type.DType != ir.F32 {
				continue
			}
			values := make([]float32, v.Type.Elements())
			if err := s.Get(v.Name, values); err != nil {
				t.Fatal(err)
			}
			for i, x := range values {
				variables[v.Name].Data[i] = float64(x)
			}
		}
		for name, value := range map[string]float64{LearningRate: 2, AlphaLearningRate: 3e-3, Seed: 5} {
			variables[name].Data[0] = value
			if err := s.SetScalar(name, value); err != nil {
				t.Fatal(err)
			}
		}
		program := rnn.Name(SearchStep, steps)
		for step := range 2 {
			inputs := map[string]any{"length": []int64{length}}
			given := map[string]*ops.Tensor{"length": ops.Scalar(ir.I64, length)}
			for i, name := range []string{"train_tokens", "train_targets", "valid_tokens", "valid_targets"} {
				values := words(steps*c.Rows, uint64(10*step+i))
				if strings.HasSuffix(name, "targets") {
					for k := length * c.Rows; k < len(values); k++ {
						values[k] = -1
					}
				}
				inputs[name] = values
				given[name] = ops.NewTensor(ir.T(ir.I32, steps, c.Rows))
				for k, v := range values {
					given[name].Data[k] = float64(v)
				}
			}
			results := map[string]any{}
			for _, name := range []string{"loss", "total_loss", "valid_loss", "grad_norm"} {
				results[name] = make([]float32, 1)
			}
			if err := s.Run(context.Background(), program, inputs, results); err != nil {
				t.Fatal(err)
			}
			want, err := ops.Run(plain.Program(program), variables, given)
			if err != nil {
				t.Fatal(err)
			}
			for name, got := range results {
				if g, w := float64(got.([]float32)[0]), want[name].Data[0]; !(math.Abs(g-w) <= 1e-3*math.Abs(w)) {
					t.Errorf("unrolled %v, step %d: %s is %v, want %v", unrolled, step, name, g, w)
				}
			}
			if want["total_loss"].Data[0] <= want["loss"].Data[0] {
				t.Errorf("regularisation adds nothing: %v and %v", want["total_loss"].Data, want["loss"].Data)
			}
		}
		for _, name := range []string{"rnns.0._Ws.3", rnn.HiddenTrain, rnn.HiddenValid, "rnns.0.bn.running_var"} {
			got := make([]float32, len(variables[name].Data))
			if err := s.Get(name, got); err != nil {
				t.Fatal(err)
			}
			var difference, norm float64
			for i, w := range variables[name].Data {
				difference += (float64(got[i]) - w) * (float64(got[i]) - w)
				norm += w * w
			}
			if norm == 0 || difference > 1e-4*norm {
				t.Errorf("unrolled %v: %s is %v off of norm %v", unrolled, name, math.Sqrt(difference), math.Sqrt(norm))
			}
		}
	}
}

func openText(t *testing.T, m *ir.Module) *runtime.Session {
	t.Helper()
	p, err := compiler.Compile(context.Background(), m, compiler.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := runtime.Open(p, cpu.New(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Initialize(3); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTextPlanSize: the plan of a second-order search is as large for 35 steps as for 5.
func TestTextPlanSize(t *testing.T) {
	size := func(steps int) int {
		m, _, _ := smallText(t, true, steps)
		p, err := compiler.Compile(context.Background(), m, compiler.Options{})
		if err != nil {
			t.Fatal(err)
		}
		data, err := plan.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		return len(data)
	}
	if short, long := size(5), size(35); long > short+short/20 {
		t.Errorf("%d bytes for 35 steps, %d for 5", long, short)
	}
}

// TestTextTraining: a derived model learns a periodic text by SGD and by averaged SGD, whatever the length of a step, and
// the averaged weights are what is evaluated as such.
func TestTextTraining(t *testing.T) {
	genotype, _ := space.NamedRecurrent("DARTS_V2")
	l := rnn.Language{Vocabulary: 11, Hidden: 16, Genotype: &genotype}
	c := TextDefaults()
	c.Rows, c.Steps = 4, 9
	m := ir.NewModule("training")
	for _, averaged := range []bool{false, true} {
		if err := BuildTextTrainStep(m, l, c, averaged); err != nil {
			t.Fatal(err)
		}
		if err := BuildTextEvaluate(m, l, 2, 9, averaged); err != nil {
			t.Fatal(err)
		}
	}
	s := openText(t, m)
	if err := s.SetScalar(LearningRate, 20); err != nil {
		t.Fatal(err)
	}
	batch := func(prefix string, rows, length, at int) map[string]any {
		tokens, targets := make([]int32, 9*rows), make([]int32, 9*rows)
		for i := range tokens {
			step, row := i/rows, i%rows
			tokens[i], targets[i] = int32((at+step+3*row)%11), int32((at+step+3*row+1)%11)
			if step >= length {
				tokens[i], targets[i] = 0, -1
			}
		}
		return map[string]any{prefix + "tokens": tokens, prefix + "targets": targets, "length": []int64{int64(length)}}
	}
	loss := []float32{0}
	run := func(program string, inputs map[string]any) float64 {
		if err := s.Run(context.Background(), rnn.Name(program, 9), inputs, map[string]any{"loss": loss}); err != nil {
			t.Fatal(err)
		}
		return float64(loss[0])
	}
	at, first, last := 0, 0.0, 0.0
	for i := range 400 {
		length, kind := 5+i%5, TrainStep
		if i >= 380 {
			kind = TrainAverageStep
		}
		last = run(kind, batch("train_", 4, length, at))
		at += length
		if i == 0 {
			first = last
		}
	}
	if math.Abs(first-math.Log(11)) > 0.1 || last > first/2 {
		t.Errorf("loss goes from %v to %v, want from ln 11 = %v down to less than half", first, last, math.Log(11))
	}
	plain := run(Evaluate, batch("", 2, 9, 0)) / 18
	if err := s.Set(rnn.HiddenEvaluate, make([]float32, 2*16)); err != nil {
		t.Fatal(err)
	}
	averaged := run(EvaluateAverage, batch("", 2, 9, 0)) / 18
	if plain > first/2 || averaged > first/2 || plain == averaged {
		t.Errorf("evaluated to %v, with averaged weights to %v, want both below %v and not the same", plain, averaged, first/2)
	}
	if n, err := s.Scalar("asgd.updates"); n != 20 || err != nil {
		t.Errorf("%v averaged updates, error %v, want 20", n, err)
	}
}

func TestTextErrors(t *testing.T) {
	l := rnn.Language{Vocabulary: 11, Hidden: 6}
	for _, test := range []struct {
		change func(l *rnn.Language, c *TextConfig)
		want   string
	}{
		{func(l *rnn.Language, c *TextConfig) { c.SmallRows = 3 }, "--small-batch-size 3: want a divisor of the batch size 8"},
		{func(l *rnn.Language, c *TextConfig) { c.Steps = 0 }, "8 rows of text and 0 steps"},
		{func(l *rnn.Language, c *TextConfig) { c.Rows = 1 }, "BatchNorm needs more than one row of text in a search"},
		{func(l *rnn.Language, c *TextConfig) { l.Vocabulary = 0 }, "vocabulary of 0 words"},
		{func(l *rnn.Language, c *TextConfig) { l.Dropout.Hidden = 1 }, "dropout probability 1: want from 0 to below 1"},
	} {
		l, c := l, TextDefaults()
		c.Rows, c.Steps = 8, 5
		test.change(&l, &c)
		if err := BuildTextSearchStep(ir.NewModule("m"), l, c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got error %v, want %q", err, test.want)
		}
	}
}
