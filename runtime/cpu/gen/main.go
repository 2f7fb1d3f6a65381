// Command gen writes the vector kernels of runtime/cpu: one assembly file and its Go declarations for each instruction set.
//
// A kernel is written once, for vectors of any width, and generated for AVX-512 and for AVX2 with FMA. It works on
// whole vectors first and on what is left with a mask, so that nothing beyond an array is read or written. The Go side
// (vector_amd64.go) checks the lengths, counts strides in bytes and keeps calls short: assembly cannot be preempted.
//
// Start reading at set.go, then window.go for a kernel of some size.
package main

import (
	"flag"
	"fmt"
	"os"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	isa := flag.String("isa", "", "instruction set: avx512 or avx2")
	flag.Parse()
	s := sets[*isa]
	if s == nil {
		fmt.Fprintf(os.Stderr, "gen: -isa is %q, want avx512 or avx2\n", *isa)
		os.Exit(2)
	}
	ConstraintExpr("amd64")
	s.constants()
	s.gemm()
	s.outer()
	s.windows()
	s.around()
	s.elementwise()
	t := s.numbers()
	t.exponential()
	t.highway()
	s.columns()
	Generate()
}
