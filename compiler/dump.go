package compiler

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/dartsc/dartsc/compiler/page"
	"github.com/dartsc/dartsc/compiler/plan"
	"github.com/dartsc/dartsc/internal/atomicfile"
	"github.com/dartsc/dartsc/ir"
)

// dumper writes the text of a module after every pass into a folder, and at the end a page that shows them.
type dumper struct {
	folder string
	count  int
	page   page.Page
}

func (d *dumper) write(name string, m *ir.Module) error {
	if d.folder == "" {
		return nil
	}
	if d.count == 0 {
		if err := os.MkdirAll(d.folder, 0o777); err != nil {
			return fmt.Errorf("--dump: %w", err)
		}
	}
	path := filepath.Join(d.folder, fmt.Sprintf("%02d-%s.txt", d.count, name))
	d.count++
	d.page.Add(name, m)
	if err := atomicfile.Write(path, []byte(m.String())); err != nil {
		return fmt.Errorf("--dump: %w", err)
	}
	return nil
}

// finish writes compile.html; the plan may be nil.
func (d *dumper) finish(p *plan.Plan) error {
	if d.folder == "" {
		return nil
	}
	if p != nil {
		d.page.AddLaunches(p)
	}
	html, err := d.page.HTML()
	if err == nil {
		err = atomicfile.Write(filepath.Join(d.folder, "compile.html"), html)
	}
	if err != nil {
		return fmt.Errorf("--dump: %w", err)
	}
	return nil
}
