package report

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"flag"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dartsc/dartsc/darts/space"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file of testdata, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestCell: AmoebaNet's reduction cell has a node that the output does not read, NASNet's normal cell two equal edges.
func TestCell(t *testing.T) {
	amoeba, _ := space.Named("AmoebaNet")
	nasnet, _ := space.Named("NASNet")
	darts, _ := space.Named("DARTS_V2")
	for _, test := range []struct {
		name   string
		edges  []space.Edge
		concat []int
	}{
		{"darts_v2_normal", darts.Normal, darts.NormalConcat},
		{"amoebanet_reduce", amoeba.Reduce, amoeba.ReduceConcat},
		{"nasnet_normal", nasnet.Normal, nasnet.NormalConcat},
	} {
		t.Run(test.name, func(t *testing.T) {
			drawing, err := Cell(test.edges, test.concat)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, test.name+".dot", []byte(drawing.DOT()))
			svg := drawing.SVG()
			golden(t, test.name+".svg", svg)

			got := texts(t, svg)
			want := map[string]int{"c_{k-2}": 1, "c_{k-1}": 1, "c_{k}": 1}
			for i, edge := range test.edges {
				want[string(edge.Primitive)]++
				if i%2 == 0 {
					want[string(rune('0'+i/2))]++
				}
			}
			for text, n := range want {
				if got[text] != n {
					t.Errorf("the picture says %q %d times, want %d", text, got[text], n)
				}
			}
			if len(got) != len(want) {
				t.Errorf("the picture says %v, want %v", got, want)
			}
		})
	}
}

// TestRecurrent: ENAS's cell has nodes that the output does not read.
func TestRecurrent(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"ENAS":     {"x_{t}": 1, "h_{t-1}": 1, "h_{t}": 1, "tanh": 4, "relu": 7},
		"DARTS_V2": {"x_{t}": 1, "h_{t-1}": 1, "h_{t}": 1, "tanh": 2, "relu": 3, "sigmoid": 2, "identity": 1},
	} {
		cell, _ := space.NamedRecurrent(name)
		drawing, err := Recurrent(cell)
		if err != nil {
			t.Fatal(err)
		}
		file := strings.ToLower(name) + "_recurrent"
		golden(t, file+".dot", []byte(drawing.DOT()))
		svg := drawing.SVG()
		golden(t, file+".svg", svg)
		got := texts(t, svg)
		for state := range len(cell.Edges) + 1 {
			want[strconv.Itoa(state)] = 1
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: the picture says %v, want %v", name, got, want)
		}
	}
	if _, err := Recurrent(space.Recurrent{}); err == nil || !strings.Contains(err.Error(), "draw: genotype: recurrent has no edges") {
		t.Errorf("an empty cell: error %v", err)
	}
}

// texts counts the texts that a picture shows, and fails unless it is well-formed XML.
func texts(t *testing.T, svg []byte) map[string]int {
	t.Helper()
	counts := map[string]int{}
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return counts
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "text" {
			var text string
			if err := decoder.DecodeElement(&text, &start); err != nil {
				t.Fatal(err)
			}
			counts[text]++
		}
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		edges  []space.Edge
		concat []int
		want   string
	}{
		{"no edges", nil, []int{2}, "draw: cell has no edges"},
		{"later node", []space.Edge{{Primitive: space.None, State: 0}, {Primitive: space.None, State: 2}}, []int{2}, `draw: cell edge 1 ("none", 2): node 0 may only read states 0 to 1`},
		{"text that would end the label", []space.Edge{{Primitive: `"]`, State: 0}, {Primitive: space.None, State: 1}}, []int{2}, "unknown primitive"},
		{"no output", []space.Edge{{Primitive: space.None, State: 0}, {Primitive: space.None, State: 1}}, nil, "draw: cell_concat is empty"},
	} {
		drawing, err := Cell(test.edges, test.concat)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, error %v, want an error with %q", test.name, drawing, err, test.want)
		}
	}
	texts(t, Drawing{}.SVG())
}

// TestLayout: in drawings of random cells nothing stands on anything else, arrows go to the right, and the same cell is
// the same picture.
func TestLayout(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		nodes := 1 + random.IntN(9)
		d := begin(nodes, "first", "second")
		for i := range nodes {
			for range 1 + random.IntN(3) {
				d.arrow(random.IntN(2+i), 2+i, []string{"", "skip_connect", "sep_conv_5x5"}[random.IntN(3)])
			}
		}
		drawing := d.end("out", []int{nodes + 1, random.IntN(nodes + 2)}, 0)
		l := drawing.layout()
		columns := map[int][]*place{}
		for _, p := range l.boxes {
			columns[p.rank] = append(columns[p.rank], p)
		}
		for _, route := range l.routes {
			for i, p := range route[1:] {
				if route[i].x+route[i].width/2 >= p.x-p.width/2 {
					t.Fatalf("an arrow goes back in\n%s", drawing.DOT())
				}
			}
			for _, p := range route[1 : len(route)-1] {
				columns[p.rank] = append(columns[p.rank], p)
			}
		}
		for _, column := range columns {
			slices.SortFunc(column, func(a, b *place) int { return cmp.Compare(a.y, b.y) })
			for i, p := range column {
				if i > 0 && p.y-p.height/2 < column[i-1].y+column[i-1].height/2+boxGap-1e-6 {
					t.Fatalf("two things stand on one another in\n%s", drawing.DOT())
				}
				if p.y-p.height/2 < -1e-6 || p.y+p.height/2 > l.height+1e-6 || p.x-p.width/2 < 0 || p.x+p.width/2 > l.width {
					t.Fatalf("something stands outside the picture of\n%s", drawing.DOT())
				}
			}
		}
		texts(t, drawing.SVG())
		if !bytes.Equal(drawing.SVG(), drawing.SVG()) {
			t.Fatalf("two pictures of\n%s", drawing.DOT())
		}
	}
}
