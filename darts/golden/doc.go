// Package golden holds dartsc to what the original answers: every case file of a folder (testdata, or the one named by
// the environment variable DARTSC_GOLDEN) is checked by what its metadata says it is. The float64 reference must agree
// to 1e-9, the compiled CPU plan in float32 to 1e-4 (1e-3 for second-order alpha gradients, which subtract two nearly
// equal ones). It has tests only.
package golden
