//go:build !amd64

package cpu

// processorSets are the sets beside the portable one: none.
func processorSets() []vector { return nil }
