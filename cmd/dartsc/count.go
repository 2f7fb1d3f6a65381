package main

import (
	"fmt"
	"strconv"
	"strings"
)

// count is a flag's number that may be given in thousands, millions or billions: 3.5M, 600M.
type count int64

func (c *count) String() string {
	if *c == 0 {
		return "" // no limit, which help need not show
	}
	return strconv.FormatInt(int64(*c), 10)
}

// Type names the flag's value in help.
func (c *count) Type() string { return "count" }

// Set reads a number with an optional K, M or G.
func (c *count) Set(text string) error {
	number, scale := text, 1.0
	for suffix, s := range map[string]float64{"K": 1e3, "M": 1e6, "G": 1e9} {
		if rest, ok := strings.CutSuffix(strings.ToUpper(text), suffix); ok {
			number, scale = rest, s
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 1/scale) || v*scale >= 1<<53 {
		return fmt.Errorf("want a number such as 3500000, 3.5M or 600M")
	}
	*c = count(v*scale + 0.5)
	return nil
}

// steps is a flag's whole number of which the original parses a float: 50 and 50.0.
type steps int

func (s *steps) String() string { return strconv.Itoa(int(*s)) }

// Type names the flag's value in help, as pflag names that of an int.
func (s *steps) Type() string { return "int" }

// Set reads a whole number.
func (s *steps) Set(text string) error {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v != float64(int(v)) {
		return fmt.Errorf("want a whole number such as 50")
	}
	*s = steps(v)
	return nil
}
