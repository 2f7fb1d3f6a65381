package space

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goldenFiles returns the JSON files of the folder that DARTSC_GOLDEN names, or of testdata.
func goldenFiles(t *testing.T) []string {
	t.Helper()
	dir := os.Getenv("DARTSC_GOLDEN")
	if dir == "" {
		dir = "testdata"
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no JSON files in %s", dir)
	}
	return files
}

// TestGoldenGenotypes compares derivation with the original's, ties included, and both directions of the text form.
func TestGoldenGenotypes(t *testing.T) {
	for _, path := range goldenFiles(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []map[string]json.RawMessage
			if json.Unmarshal(data, &kinds) != nil || len(kinds) == 0 || kinds[0]["alphas_normal"] == nil {
				t.Skip("holds no alphas of convolutional cells")
			}
			var cases []struct {
				AlphasNormal [][]float64 `json:"alphas_normal"`
				AlphasReduce [][]float64 `json:"alphas_reduce"`
				Genotype     string      `json:"genotype"`
			}
			if err := json.Unmarshal(data, &cases); err != nil {
				t.Fatal(err)
			}
			for i, c := range cases {
				got, err := Derive(c.AlphasNormal, c.AlphasReduce)
				if err != nil {
					t.Errorf("case %d: %v", i, err)
				} else if got.String() != c.Genotype {
					t.Errorf("case %d\ngot  %s\nwant %s", i, got, c.Genotype)
				}
				if parsed, err := Parse(c.Genotype); err != nil || parsed.String() != c.Genotype {
					t.Errorf("case %d: parsed and printed\ngot  %s, error %v\nwant %s", i, parsed, err, c.Genotype)
				}
			}
		})
	}
}

// TestGoldenParameterCounts holds the named architectures against the sizes of the original's networks: one wrong
// primitive or, in a reduction cell, one wrong input changes them.
func TestGoldenParameterCounts(t *testing.T) {
	for _, path := range goldenFiles(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var counts map[string][2]int // with and without the auxiliary head
			if err := json.Unmarshal(data, &counts); err != nil {
				t.Skip("holds no parameter counts of convolutional networks")
			}
			for _, key := range slices.Sorted(maps.Keys(counts)) {
				network, err := parseNetwork(key)
				if err != nil {
					t.Errorf("%s: %v", key, err)
					continue
				}
				body, head := network.parameters()
				if got, want := [2]int{body + head, body}, counts[key]; got != want {
					t.Errorf("%s: got %v parameters, want %v", key, got, want)
				}
			}
		})
	}
}

// network is a network of the original, as far as its parameter count depends on it.
type network struct {
	genotype         Genotype // without cells for the supernet
	channels, layers int
	imageNet, aux    bool
}

// parseNetwork reads keys such as "cifar/DARTS_V2/C36/L20/aux1" and "search/C16/L8".
func parseNetwork(key string) (network, error) {
	part := strings.Split(key, "/")
	var n network
	if part[0] == "search" {
		_, err := fmt.Sscanf(strings.Join(part[1:], " "), "C%d L%d", &n.channels, &n.layers)
		return n, err
	}
	if len(part) != 5 || part[0] != "cifar" && part[0] != "imagenet" {
		return n, fmt.Errorf("not a network")
	}
	var ok bool
	if n.genotype, ok = Named(part[1]); !ok {
		return n, fmt.Errorf("unknown architecture %s", part[1])
	}
	n.imageNet = part[0] == "imagenet"
	_, err := fmt.Sscanf(strings.Join(part[2:4], " "), "C%d L%d", &n.channels, &n.layers)
	n.aux = part[4] == "aux1"
	return n, err
}

func (n network) parameters() (body, head int) {
	c, classes := n.channels, 10
	previous, beforePrevious := 3*c, 3*c
	body = 27*3*c + 2*3*c // stem: 3x3 convolution to 3C channels, BatchNorm
	if n.imageNet {
		classes = 1000
		previous, beforePrevious = c, c
		body = 27*(c/2) + 2*(c/2) + 9*(c/2)*c + 2*c + 9*c*c + 2*c // three strided 3x3 convolutions with BatchNorm
	}
	search := len(n.genotype.Normal) == 0
	for layer := range n.layers {
		reduction := layer == n.layers/3 || layer == 2*n.layers/3
		edges, nodes := n.genotype.Normal, len(n.genotype.NormalConcat)
		if reduction {
			c *= 2
			edges, nodes = n.genotype.Reduce, len(n.genotype.ReduceConcat)
		}
		if search {
			nodes = 4
			body += (beforePrevious+previous)*c + supernetEdges(c, reduction)
		} else {
			// Both inputs are brought to c channels by a 1x1 convolution or a factorised reduction of the same size.
			body += (beforePrevious+previous)*c + 4*c + cellEdges(edges, c, reduction)
		}
		beforePrevious, previous = previous, nodes*c
		if n.aux && layer == 2*n.layers/3 {
			head = 128*previous + 2*128 + 4*128*768 + 2*768 + 768*classes + classes
			if n.imageNet {
				head -= 2 * 768 // the original has no BatchNorm there
			}
		}
	}
	return body + previous*classes + classes, head
}

func cellEdges(edges []Edge, c int, reduction bool) (sum int) {
	for _, edge := range edges {
		sum += convolutions(edge.Primitive, c, reduction && edge.State < 2, 2*c)
	}
	return sum
}

// supernetEdges counts an edge of every primitive, whose BatchNorms have no parameters.
func supernetEdges(c int, reduction bool) (sum int) {
	for node := range 4 {
		for state := range node + 2 {
			for _, p := range CNN() {
				sum += convolutions(p, c, reduction && state < 2, 0)
			}
		}
	}
	return sum
}

func convolutions(p Primitive, c int, strided bool, batchNorm int) int {
	depthwise := func(kernel int) int { return kernel*kernel*c + c*c + batchNorm }
	switch p {
	case SkipConnect:
		if strided {
			return c*c + batchNorm
		}
		return 0
	case SepConv3x3:
		return 2 * depthwise(3)
	case SepConv5x5:
		return 2 * depthwise(5)
	case SepConv7x7:
		return 2 * depthwise(7)
	case DilConv3x3:
		return depthwise(3)
	case DilConv5x5:
		return depthwise(5)
	case Conv7x1x1x7:
		return 14*c*c + batchNorm
	}
	return 0 // none and the pools
}

func TestDeriveTies(t *testing.T) {
	row := func(column int, alpha float64) []float64 {
		r := make([]float64, 8)
		r[column] = alpha
		return r
	}
	zero := row(0, 0)
	tests := []struct {
		name   string
		alphas [][]float64
		want   []Edge
	}{
		{"all equal: first states, first primitive after none", [][]float64{zero, zero, zero, zero, zero},
			[]Edge{{MaxPool3x3, 0}, {MaxPool3x3, 1}, {MaxPool3x3, 0}, {MaxPool3x3, 1}}},
		{"the heavier edge is listed first", [][]float64{zero, row(3, 1)},
			[]Edge{{SkipConnect, 1}, {MaxPool3x3, 0}}},
		{"the lightest edge goes", [][]float64{zero, zero, row(4, 1), zero, row(5, 2)},
			[]Edge{{MaxPool3x3, 0}, {MaxPool3x3, 1}, {SepConv5x5, 2}, {SepConv3x3, 0}}},
		{"none is never kept, but takes weight from its edge", [][]float64{zero, zero, row(0, 3), row(0, 1), zero},
			[]Edge{{MaxPool3x3, 0}, {MaxPool3x3, 1}, {MaxPool3x3, 2}, {MaxPool3x3, 1}}},
		{"edges compete after the softmax", [][]float64{{5, 6, 6, 6, 6, 6, 6, 6}, row(7, 0.5), zero, zero, {2, 2, 2, 2, 3, 2, 2, 2}},
			[]Edge{{DilConv5x5, 1}, {MaxPool3x3, 0}, {SepConv3x3, 2}, {MaxPool3x3, 0}}},
		{"alphas too close to have different weights tie", [][]float64{{0, 0, 1e-17, 0, 0, 0, 0, 0}, zero},
			[]Edge{{MaxPool3x3, 0}, {MaxPool3x3, 1}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Derive(test.alphas, test.alphas)
			if err != nil {
				t.Fatal(err)
			}
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
			if !slices.Equal(got.Normal, test.want) || !slices.Equal(got.Reduce, test.want) {
				t.Errorf("\ngot  %v\nand  %v\nwant %v", got.Normal, got.Reduce, test.want)
			}
			want := []int{2, 3, 4, 5}[:len(test.want)/2]
			if !slices.Equal(got.NormalConcat, want) || !slices.Equal(got.ReduceConcat, want) {
				t.Errorf("concat %v and %v, want %v", got.NormalConcat, got.ReduceConcat, want)
			}
		})
	}
}

func TestDeriveErrors(t *testing.T) {
	good := func() [][]float64 {
		rows := make([][]float64, 14)
		for i := range rows {
			rows[i] = make([]float64, 8)
		}
		return rows
	}
	short, narrow, broken := good()[:13], good(), good()
	narrow[3] = narrow[3][:7]
	broken[9][4] = math.NaN()
	for _, test := range []struct {
		name           string
		normal, reduce [][]float64
		want           string
	}{
		{"no rows", nil, good(), "derive: normal alphas have 0 rows: want 2+3+... one for each edge"},
		{"a row short", good(), short, "derive: reduce alphas have 13 rows: want 2+3+... one for each edge"},
		{"a column short", narrow, good(), "derive: normal alphas row 3 has 7 columns: want 8, one for each primitive"},
		{"not a number", good(), broken, "derive: reduce alphas row 9 (sep_conv_3x3) is NaN: want a finite number"},
	} {
		got, err := Derive(test.normal, test.reduce)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, error %v\nwant %s", test.name, got, err, test.want)
		}
	}
}
