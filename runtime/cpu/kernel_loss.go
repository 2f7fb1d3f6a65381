package cpu

import (
	"math"

	"github.com/dartsc/dartsc/compiler/plan"
)

// Kernels over rows of logits. Labels are class numbers; a row with a negative label does not count. Labels are data,
// which no plan can vouch for: one beyond the last class matches no class.

func init() {
	register("softmax", bindSoftmax)
	register("softmax_grad", bindSoftmaxGrad)
	register("cross_entropy", bindCrossEntropy)
	register("cross_entropy_grad", bindCrossEntropyGrad)
	register("correct", bindCorrect)
}

// softmax(x) over the last axis.
func bindSoftmax(l *launch) (task, error) {
	c := check(l, 1, 1, 1)
	x, y := c.operand(0, plan.F32), c.result(0, plan.F32)
	k := c.rowsOf(x)
	c.like(y, x)
	if c.err != nil {
		return task{}, c.err
	}
	return oneTask(rowParts(len(x.f32)/k, k, func(first, last int) {
		for from := first * k; from < last*k; from += k {
			softmaxRow(y.f32[from:from+k], x.f32[from:from+k])
		}
	})), nil
}

// rowsOf returns the length of the rows of a row-major tensor.
func (c *checker) rowsOf(t tensor) int {
	if c.err == nil && len(t.Shape) == 0 {
		c.failf("%s is a scalar, wants at least one dimension", t.name)
	}
	c.layout(t, nil)
	if c.err != nil {
		return 1
	}
	return t.Shape[len(t.Shape)-1]
}

func softmaxRow(y, x []float32) {
	y = y[:len(x)]
	largest, sum := logSumExp(x)
	for i, v := range x {
		y[i] = float32(math.Exp(float64(v)-largest) / sum)
	}
}

// logSumExp returns m and s with Σ exp(x) = exp(m)·s; m is the largest element.
func logSumExp(x []float32) (largest, sum float64) {
	top := largestOf(x)
	largest = float64(top)
	exp := vec.rows["exp"]
	if exp == nil || len(x) < longRow {
		for _, v := range x {
			sum += math.Exp(float64(v) - largest)
		}
		return largest, sum
	}
	var block [dotBlock]float32
	for len(x) > 0 {
		n := min(len(block), len(x))
		exp(block[:n], x[:n], x[:n], -top, 0)
		sum += vec.dot(block[:n], ones[:n])
		x = x[n:]
	}
	return largest, sum
}

// largestOf passes over NaN, of which the sum of exponentials makes NaN in any case. Four at a time do not wait for each
// other.
func largestOf(x []float32) float32 {
	a, b, c, d := x[0], x[0], x[0], x[0]
	for ; len(x) >= 4; x = x[4:] {
		if x[0] > a {
			a = x[0]
		}
		if x[1] > b {
			b = x[1]
		}
		if x[2] > c {
			c = x[2]
		}
		if x[3] > d {
			d = x[3]
		}
	}
	for _, v := range x {
		a = max(a, v)
	}
	return max(a, b, c, d)
}

// longRow is from how many classes on the exponentials are those of float32.
const longRow = 256

var ones = func() (v [dotBlock]float32) {
	for i := range v {
		v[i] = 1
	}
	return v
}()

// softmax_grad(g, y) → y·(g - Σ g·y)
func bindSoftmaxGrad(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	g, y, dx := c.operand(0, plan.F32), c.operand(1, plan.F32), c.result(0, plan.F32)
	k := c.rowsOf(g)
	c.like(y, g)
	c.like(dx, g)
	if c.err != nil {
		return task{}, c.err
	}
	return oneTask(rowParts(len(g.f32)/k, k, func(first, last int) {
		for from := first * k; from < last*k; from += k {
			g, y, dx := g.f32[from:from+k], y.f32[from:from+k], dx.f32[from:from+k]
			sum := 0.0
			for i, v := range y {
				sum += float64(g[i]) * float64(v)
			}
			for i, v := range y {
				dx[i] = v * float32(float64(g[i])-sum)
			}
		}
	})), nil
}

// targets are logits [N,K] and labels [N] with the parameters that the loss and its gradient share.
type targets struct {
	logits    []float32
	labels    []int32
	classes   int
	smoothing float64
	mean      bool
}

func (c *checker) targets(at int) targets {
	logits, labels := c.operand(at, plan.F32), c.operand(at+1, plan.I32)
	c.rank(logits, 2)
	c.layout(logits, nil)
	if c.err == nil {
		c.shape(labels, logits.Shape[0])
	}
	if c.err != nil {
		return targets{}
	}
	return targets{logits: logits.f32, labels: labels.i32, classes: logits.Shape[1]}
}

// smoothed adds the parameters of a loss.
func (c *checker) smoothed(t targets) targets {
	t.smoothing = c.floatParam("label_smoothing")
	switch reduction := param[string](c, "reduction", "mean or sum"); reduction {
	case "mean":
		t.mean = true
	case "sum":
	default:
		c.failf("reduction is %q, wants mean or sum", reduction)
	}
	return t
}

func (t *targets) row(n int) []float32 { return t.logits[n*t.classes : (n+1)*t.classes] }

// scale is what every row that counts contributes by.
func (t *targets) scale() float64 {
	if !t.mean {
		return 1
	}
	counted := 0
	for _, label := range t.labels {
		if label >= 0 {
			counted++
		}
	}
	return 1 / float64(max(counted, 1))
}

// sum binds the sum over all rows that count: parts leave partial sums, the second phase adds and scales them.
func (t *targets) sum(y []float32, value func(row []float32, label int) float64) task {
	partial := make([]float64, partsOf(len(t.logits)))
	parts := min(len(partial), len(t.labels))
	rows := func(part int, _ []float32) {
		sum := 0.0
		first, last := span(part, parts, len(t.labels))
		for n := first; n < last; n++ {
			if label := t.labels[n]; label >= 0 {
				sum += value(t.row(n), int(label))
			}
		}
		partial[part] = sum
	}
	finish := func(int, []float32) {
		sum := 0.0
		for _, v := range partial[:parts] {
			sum += v
		}
		y[0] = float32(sum * t.scale())
	}
	return oneTask(phase{parts: parts, run: rows}, phase{parts: 1, run: finish})
}

// cross_entropy(logits [N,K], labels [N]) → the sum over rows, or the mean over the rows that count, for targets
// (1-ε)·onehot + ε/K.
func bindCrossEntropy(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	y := c.result(0, plan.F32)
	t := c.smoothed(c.targets(0))
	c.shape(y)
	if c.err != nil {
		return task{}, c.err
	}
	even := t.smoothing / float64(t.classes)
	return t.sum(y.f32, func(row []float32, label int) float64 {
		largest, sum := logSumExp(row)
		whole, loss := largest+math.Log(sum), 0.0
		if even != 0 {
			for _, v := range row {
				loss += even * (whole - float64(v))
			}
		}
		if label < len(row) && t.smoothing != 1 {
			loss += (1 - t.smoothing) * (whole - float64(row[label]))
		}
		return loss
	}), nil
}

// cross_entropy_grad(g, logits, labels): the cotangent of logits.
func bindCrossEntropyGrad(l *launch) (task, error) {
	c := check(l, 3, 3, 1)
	g, dx := c.scalar(0, plan.F32), c.result(0, plan.F32)
	t := c.smoothed(c.targets(1))
	if c.err == nil {
		c.like(dx, c.in[1])
	}
	if c.err != nil {
		return task{}, c.err
	}
	even := t.smoothing / float64(t.classes)
	return oneTask(rowParts(len(t.labels), t.classes, func(first, last int) {
		scale := float64(g.f32[0]) * t.scale()
		for n := first; n < last; n++ {
			into, label := dx.f32[n*t.classes:(n+1)*t.classes], int(t.labels[n])
			if label < 0 {
				clear(into)
				continue
			}
			row := t.row(n)
			largest, sum := logSumExp(row)
			if exp := vec.rows["exp"]; exp != nil && len(row) >= longRow && even == 0 {
				exp(into, row, row, -float32(largest), 0)
				vec.multiply(into, float32(scale/sum))
				if label < len(into) {
					into[label] -= float32(scale * (1 - t.smoothing))
				}
				continue
			}
			for i, v := range row {
				target := even
				if i == label {
					target += 1 - t.smoothing
				}
				into[i] = float32(scale * (math.Exp(float64(v)-largest)/sum - target))
			}
		}
	})), nil
}

// correct(logits [N,K], labels [N]) → how many rows have their label among the k largest logits; of equal logits the
// first is the larger.
func bindCorrect(l *launch) (task, error) {
	c := check(l, 2, 2, 1)
	y, k := c.result(0, plan.F32), c.intParam("k")
	t := c.targets(0)
	c.shape(y)
	if c.err == nil && k < 1 {
		c.failf("k is %d, wants at least 1", k)
	}
	if c.err != nil {
		return task{}, c.err
	}
	return t.sum(y.f32, func(row []float32, label int) float64 {
		if label >= len(row) {
			return 0
		}
		better, own := 0, row[label]
		for i, v := range row {
			if v > own || v == own && i < label {
				better++
			}
		}
		if better < k {
			return 1
		}
		return 0
	}), nil
}
