// Package onnxruntime runs ONNX files in Microsoft's onnxruntime, through python3 where that has it: an independent
// judge of what a file means, and of how fast it can be. It knows nothing of our compiler.
package onnxruntime

import (
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dartsc/dartsc/ir"
	"github.com/dartsc/dartsc/ops"
)

//go:embed run.py
var script []byte

// Available reports why onnxruntime cannot be used here, or nil.
func Available(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "python3", "-c", "import numpy, onnxruntime").CombinedOutput()
	if err != nil {
		return fmt.Errorf("python3 has no onnxruntime (pip install onnxruntime): %w %s", err, lastLine(out))
	}
	return nil
}

// Options say how to run a file.
type Options struct {
	Threads int // 0: 1
	Runs    int // 0: 1
}

// Result is what onnxruntime made of a file.
type Result struct {
	Version string
	Outputs map[string]*ops.Tensor
	Times   []time.Duration // of every run
}

// Run gives a file inputs by name, as f32, and returns all its results.
func Run(ctx context.Context, file []byte, inputs map[string]*ops.Tensor, o Options) (*Result, error) {
	folder, err := os.MkdirTemp("", "dartsc-onnxruntime-")
	if err != nil {
		return nil, fmt.Errorf("onnxruntime: %w", err)
	}
	defer os.RemoveAll(folder)
	result, err := run(ctx, folder, file, inputs, o)
	if err != nil {
		return nil, fmt.Errorf("onnxruntime: %w", err)
	}
	return result, nil
}

// port is an input or output as run.py knows it.
type port struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
}

func run(ctx context.Context, folder string, file []byte, inputs map[string]*ops.Tensor, o Options) (*Result, error) {
	request := struct {
		Threads int    `json:"threads"`
		Runs    int    `json:"runs"`
		Inputs  []port `json:"inputs"`
	}{max(o.Threads, 1), max(o.Runs, 1), []port{}}
	for name, x := range inputs {
		at := filepath.Join(folder, fmt.Sprintf("%d.in", len(request.Inputs)))
		request.Inputs = append(request.Inputs, port{name, append([]int{}, x.Type.Shape...)})
		if err := os.WriteFile(at, encode(x.Data), 0o600); err != nil {
			return nil, err
		}
	}
	described, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{"run.py": script, "model.onnx": file, "request.json": described} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	out, err := exec.CommandContext(ctx, "python3", filepath.Join(folder, "run.py"), folder).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("%w: %s", err, lastLine(exit.Stderr))
	} else if err != nil {
		return nil, err
	}
	var answer struct {
		Version string    `json:"version"`
		Seconds []float64 `json:"seconds"`
		Outputs []port    `json:"outputs"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("run.py printed %q: %w", lastLine(out), err)
	}
	result := &Result{Version: answer.Version, Outputs: map[string]*ops.Tensor{}}
	for _, s := range answer.Seconds {
		result.Times = append(result.Times, time.Duration(s*float64(time.Second)))
	}
	for i, output := range answer.Outputs {
		data, err := os.ReadFile(filepath.Join(folder, fmt.Sprintf("%d.out", i)))
		if err != nil {
			return nil, err
		}
		floats := make([]float32, len(data)/4)
		if _, err := binary.Decode(data, binary.LittleEndian, floats); err != nil {
			return nil, err
		}
		t := ir.T(ir.F32, output.Shape...)
		if len(floats) != t.Elements() {
			return nil, fmt.Errorf("result %s is %s with %d elements", output.Name, t, len(floats))
		}
		x := ops.NewTensor(t)
		for k, v := range floats {
			x.Data[k] = float64(v)
		}
		result.Outputs[output.Name] = x
	}
	return result, nil
}

func encode(data []float64) []byte {
	floats := make([]float32, len(data))
	for i, v := range data {
		floats[i] = float32(v)
	}
	out, _ := binary.Append(nil, binary.LittleEndian, floats) // fails for types without a size only
	return out
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
