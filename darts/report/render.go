package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/goccy/go-graphviz"
)

// rendering guards Graphviz, which keeps its state in one WebAssembly memory for the whole process.
var rendering sync.Mutex

// SVG lays the drawing out and returns it as an SVG document.
func (d Drawing) SVG() (svg []byte, err error) {
	if d.dot == "" {
		return nil, errors.New("draw: an empty drawing has no SVG; make one with Cell")
	}
	rendering.Lock()
	defer rendering.Unlock()
	ctx := context.Background()
	engine, err := graphviz.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("draw: start graphviz: %w", err)
	}
	defer func() {
		if closeErr := engine.Close(); err == nil && closeErr != nil {
			svg, err = nil, fmt.Errorf("draw: close graphviz: %w", closeErr)
		}
	}()
	graph, err := graphviz.ParseBytes([]byte(d.dot))
	if err != nil {
		return nil, fmt.Errorf("draw: read DOT: %w", err)
	}
	defer graph.Close()
	var out bytes.Buffer
	if err := engine.Render(ctx, graph, graphviz.SVG, &out); err != nil {
		return nil, fmt.Errorf("draw: render SVG: %w", err)
	}
	return out.Bytes(), nil
}
