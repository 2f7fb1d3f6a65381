package runtime

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dartsc/dartsc/compiler/plan"
)

// Session is one plan on one device. Its methods may be called from several goroutines; they take turns. Several
// sessions run at the same time.
type Session struct {
	mutex    sync.Mutex
	plan     *plan.Plan
	instance Instance       // nil once closed
	programs map[string]int // by name
	values   map[string]*plan.Variable
	staging  []uint64 // one tensor in the plan's layout on its way
	profile  func(program string, launch int, d time.Duration)
	running  string                            // the program that observe speaks of
	observe  func(launch int, d time.Duration) // made once: a closure a run would allocate
}

// Open places a plan on a device. The variables are undefined until Initialize or Set.
func Open(p *plan.Plan, d Device) (*Session, error) {
	if p == nil {
		return nil, fmt.Errorf("no plan to open")
	}
	if p.Target != d.Target() {
		return nil, fmt.Errorf("plan %s is for target %q, the device is %q", p.Name, p.Target, d.Target())
	}
	instance, err := d.Load(p)
	if err != nil {
		return nil, err
	}
	s := &Session{plan: p, instance: instance, programs: map[string]int{}, values: map[string]*plan.Variable{}}
	s.observe = func(launch int, d time.Duration) { s.profile(s.running, launch, d) }
	for i := range p.Variables {
		s.values[p.Variables[i].Name] = &p.Variables[i]
	}
	for i, program := range p.Programs {
		s.programs[program.Name] = i
		for _, ports := range [][]plan.Port{program.Inputs, program.Results} {
			for _, port := range ports {
				s.stage(&program.Buffers[port.Buffer].Tensor) // so that Run need not allocate
			}
		}
	}
	return s, nil
}

// Plan returns the plan, which must not be changed.
func (s *Session) Plan() *plan.Plan { return s.plan }

// Close frees what the session holds on the device. Everything else then returns an error.
func (s *Session) Close() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.instance == nil {
		return nil
	}
	instance := s.instance
	s.instance = nil
	return instance.Close()
}

// SetProfile gives a function that hears how long each launch took, or nil. It is called between launches, so it must
// be quick and must not call the session.
func (s *Session) SetProfile(profile func(program string, launch int, d time.Duration)) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.profile = profile
}

// Set gives a variable its value from a []float32, []int64, []int32 or []uint8 in logical row-major order.
func (s *Session) Set(name string, value any) error { return s.exchange(name, value, true) }

// Get copies the value of a variable into a slice of its type and length, in logical row-major order.
func (s *Session) Get(name string, into any) error { return s.exchange(name, into, false) }

func (s *Session) exchange(name string, slice any, write bool) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.instance == nil {
		return errClosed
	}
	v := s.values[name]
	if v == nil {
		return fmt.Errorf("plan %s has no variable %q", s.plan.Name, name)
	}
	if err := s.transfer(&v.Tensor, plan.Variables, v.Offset, slice, write); err != nil {
		return fmt.Errorf("variable %s %w", name, err)
	}
	return nil
}

var errClosed = fmt.Errorf("the session is closed")

// SetScalar gives a variable of one element, f32 or i64, its value.
func (s *Session) SetScalar(name string, value float64) error {
	if v := s.values[name]; v != nil && v.DType == plan.I64 {
		if value != float64(int64(value)) {
			return fmt.Errorf("variable %s is i64: %v is not an integer", name, value)
		}
		return s.Set(name, []int64{int64(value)})
	}
	return s.Set(name, []float32{float32(value)})
}

// Scalar returns the value of a variable of one element, f32 or i64.
func (s *Session) Scalar(name string) (float64, error) {
	if v := s.values[name]; v != nil && v.DType == plan.I64 {
		var value [1]int64
		err := s.Get(name, value[:])
		return float64(value[0]), err
	}
	var value [1]float32
	err := s.Get(name, value[:])
	return float64(value[0]), err
}

// Check says whether Run would take these inputs and results, without running anything.
func (s *Session) Check(program string, inputs, results map[string]any) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	_, err := s.check(program, inputs, results)
	return err
}

// check returns the index of a program that takes these inputs and results.
func (s *Session) check(program string, inputs, results map[string]any) (int, error) {
	if s.instance == nil {
		return 0, errClosed
	}
	index, ok := s.programs[program]
	if !ok {
		return 0, fmt.Errorf("plan %s has no program %q: it has %s", s.plan.Name, program, s.programNames())
	}
	p := s.plan.Programs[index]
	if err := checkNames("input", p.Inputs, inputs); err != nil {
		return 0, fmt.Errorf("program %s: %w", program, err)
	}
	if err := checkNames("result", p.Results, results); err != nil {
		return 0, fmt.Errorf("program %s: %w", program, err)
	}
	for i := range p.Inputs {
		port := &p.Inputs[i]
		slice, ok := inputs[port.Name]
		if !ok {
			return 0, fmt.Errorf("program %s: input %q is missing", program, port.Name)
		}
		if _, err := dataFor(&p.Buffers[port.Buffer].Tensor, slice); err != nil {
			return 0, fmt.Errorf("program %s: input %s %w", program, port.Name, err)
		}
	}
	for i := range p.Results {
		port := &p.Results[i]
		if slice, ok := results[port.Name]; ok {
			if _, err := dataFor(&p.Buffers[port.Buffer].Tensor, slice); err != nil {
				return 0, fmt.Errorf("program %s: result %s %w", program, port.Name, err)
			}
		}
	}
	return index, nil
}

// Run copies the inputs in, replays the program and copies the results that are asked for out. Both maps hold slices
// as Set and Get take them; the slices of results are written. Every input of the program must be there. A caller who
// reuses maps and slices causes no allocation.
func (s *Session) Run(ctx context.Context, program string, inputs, results map[string]any) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	index, err := s.check(program, inputs, results)
	if err != nil {
		return err
	}
	p := s.plan.Programs[index]
	for i := range p.Inputs {
		port := &p.Inputs[i]
		if err := s.port(p, port, inputs[port.Name], true); err != nil {
			return fmt.Errorf("program %s: input %s %w", program, port.Name, err)
		}
	}
	var observe func(int, time.Duration)
	if s.profile != nil {
		s.running, observe = program, s.observe
	}
	if err := s.instance.Run(ctx, index, observe); err != nil {
		return err
	}
	for i := range p.Results {
		port := &p.Results[i]
		if slice, ok := results[port.Name]; ok {
			if err := s.port(p, port, slice, false); err != nil {
				return fmt.Errorf("program %s: result %s %w", program, port.Name, err)
			}
		}
	}
	return nil
}

func (s *Session) programNames() string {
	var names []string
	for name := range s.programs {
		names = append(names, name)
	}
	slices.Sort(names)
	return fmt.Sprint(names)
}

// checkNames requires that every name in values is that of a port.
func checkNames(what string, ports []plan.Port, values map[string]any) error {
	for name := range values {
		known := false
		for i := range ports {
			known = known || ports[i].Name == name
		}
		if !known {
			return fmt.Errorf("has no %s %q", what, name)
		}
	}
	return nil
}

func (s *Session) port(p *plan.Program, port *plan.Port, slice any, write bool) error {
	b := &p.Buffers[port.Buffer]
	return s.transfer(&b.Tensor, b.Space, b.Offset, slice, write)
}

// transfer copies a tensor between a caller's slice and the device, through the staging buffer where orders differ.
func (s *Session) transfer(t *plan.Tensor, space plan.Space, offset int64, slice any, write bool) error {
	d, err := dataFor(t, slice)
	if err != nil {
		return err
	}
	if rowMajor(t) {
		if write {
			return s.instance.Write(space, offset, d.bytes)
		}
		return s.instance.Read(space, offset, d.bytes)
	}
	memory := s.stage(t)
	if write {
		arrange(t, memory, d.bytes, true)
		return s.instance.Write(space, offset, memory)
	}
	if err := s.instance.Read(space, offset, memory); err != nil {
		return err
	}
	arrange(t, memory, d.bytes, false)
	return nil
}

// stage returns the staging buffer with room for a tensor.
func (s *Session) stage(t *plan.Tensor) []byte {
	if rowMajor(t) {
		return nil
	}
	bytes := int(t.Bytes())
	if words := (bytes + 7) / 8; words > len(s.staging) {
		s.staging = make([]uint64, words)
	}
	return bytesOf(s.staging)[:bytes]
}
