//go:build cuda && linux && cgo && (amd64 || arm64)

package cuda

import (
	"fmt"
	"strconv"
	"strings"
)

// target is the newest of the targets, named as cuda:sm_90, whose code runs on the GPU.
func (p Properties) target(targets []string) (string, error) {
	best, at := 0, -1
	for i, target := range targets {
		architecture, ok := strings.CutPrefix(target, "cuda:")
		if c := capability(architecture); ok && c > best && c <= capability(p.Architecture) {
			best, at = c, i
		}
	}
	if at < 0 {
		return "", fmt.Errorf("CUDA device %d (%s): is %s, and plans are made for %s", p.Index, p.Name, p.Architecture, strings.Join(targets, ", "))
	}
	return targets[at], nil
}

// capability is the number in sm_90, and 0 for other names: code for sm_90a runs on no other device.
func capability(architecture string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(architecture, "sm_"))
	if err != nil {
		return 0
	}
	return n
}
