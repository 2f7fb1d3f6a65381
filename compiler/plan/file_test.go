package plan

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dartsc/dartsc/compiler/plan/planpb"
)

// small returns a plan that uses every field.
func small() *Plan {
	image := Tensor{DType: F32, Shape: []int{2, 3, 4, 5}, Order: Layout{0, 2, 3, 1}}
	weights := Tensor{DType: F32, Shape: []int{8}}
	return &Plan{
		Name: "search", Target: "cpu", Compiler: "test", Metadata: map[string]string{"classes": "10", "size": "32"},
		Variables: []Variable{
			{Name: "w", Kind: "weight", Tensor: weights, Init: Init{"normal", 0.1}},
			{Name: "step", Kind: "control", Tensor: Tensor{DType: I64}, Offset: 32, Init: Init{"constant", 1}},
		},
		VariableBytes: 40, ArenaBytes: 1024,
		Modules: []Module{{
			Name: "loss", Source: "extern \"C\" __global__ void k() {}", Options: []string{"--std=c++17"},
			Images:    []Image{{"sm_80", PTX, []byte("// ptx")}, {"sm_90", Cubin, []byte{1, 0, 2}}},
			Functions: []Function{{"k", 32, 4096, 0}, {"l", 255, 0, 16}},
		}},
		Programs: []*Program{{
			Name:    "train",
			Inputs:  []Port{{"x", 0}},
			Results: []Port{{"y", 1}},
			Buffers: []Buffer{{Tensor: image}, {Tensor: image, Offset: 480}, {Tensor: weights, Space: Variables}},
			Launches: []Launch{
				{
					Kernel: "elementwise", Operands: []int{0, 0}, Results: []int{1},
					Params: Params{"results": []int{3}},
					Code: []Instruction{
						{Op: "neg", Args: []int{0}},
						{Op: "axpby", Args: []int{1, 2}, Constants: []float64{2, -0.5}},
					},
					Phase: "forward", Scope: "cell 3", FLOPs: 720, Bytes: 960,
				},
				{
					Kernel: "all", Operands: []int{2}, Results: []int{2},
					Params: Params{"i": -7, "f": math.Inf(-1), "b": true, "c": false, "s": "same", "is": []int{}, "fs": []float64{1, 2}},
				},
				{Kernel: "none"},
				{
					Kernel: "device", Operands: []int{0}, Results: []int{1}, Device: &DeviceLaunch{
						Function: "k", Grid: [3]int{1 << 20, 3, 1}, Block: [3]int{32, 8, 1}, SharedBytes: 1024,
						Arguments: []Argument{
							{Kind: ResultArgument}, {Kind: Int32Argument, Integer: -3}, {Kind: OperandArgument},
							{Kind: Float32Argument, Number: 0.5}, {Kind: Int64Argument, Integer: 1 << 40},
						},
					},
				},
			},
			PeakBytes: 960, LowerBound: 960,
		}},
	}
}

// large returns a plan of about as many launches as a full-size search step has.
func large(launches int) *Plan {
	t := Tensor{DType: F32, Shape: []int{64, 16, 32, 32}, Order: Layout{0, 2, 3, 1}}
	program := &Program{Name: "search_step"}
	for i := range launches {
		t.Shape = []int{64, 16 << (i % 3), 32 >> (i % 3), 32}
		program.Buffers = append(program.Buffers, Buffer{Tensor: t, Offset: int64(i%50) << 22})
		program.Launches = append(program.Launches, Launch{
			Kernel: "conv2d", Operands: []int{i, max(i-1, 0)}, FLOPs: float64(i), Bytes: 4096, Phase: "forward", Scope: fmt.Sprintf("cell %d/edge %d", i%8, i%14),
			Params: Params{"pads": []int{1, 1, 1, 1}, "strides": []int{1 + i%2, 1}, "dilations": []int{2, 2}, "groups": 16, "prologue": "relu", "eps": 1e-5},
		})
	}
	return &Plan{Name: "large", Target: "cpu", ArenaBytes: 1 << 40, Programs: []*Program{program}}
}

func TestRoundTrip(t *testing.T) {
	sets := small()
	sets.Programs[0].Launches[1].Sets = 1
	for _, want := range []*Plan{small(), looped(), sets, large(3000), {Name: "empty"}} {
		t.Run(want.Name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.dplan")
			if err := WriteFile(path, want); err != nil {
				t.Fatal(err)
			}
			got, err := ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
			first, _ := Encode(want)
			again, err := Encode(got)
			if err != nil || string(first) != string(again) {
				t.Errorf("encoded again: %d other bytes than the first %d, error %v", len(again), len(first), err)
			}
		})
	}
}

func TestTablesKeepFilesSmall(t *testing.T) {
	data, err := Encode(large(10000))
	if err != nil {
		t.Fatal(err)
	}
	if perLaunch := len(data) / 10000; perLaunch > 60 {
		t.Errorf("%d bytes a launch, want at most 60", perLaunch)
	}
}

func TestEveryFlippedBitIsAnError(t *testing.T) {
	data, err := Encode(small())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(data) {
		damaged := slices.Clone(data)
		damaged[i/8] ^= 1 << (i % 8)
		if _, err := Decode(damaged); err == nil {
			t.Errorf("bit %d of byte %d of %d is flipped and nobody notices", i%8, i/8, len(data))
		}
	}
	for n := range data {
		if _, err := Decode(data[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes and nobody notices", n, len(data))
		}
	}
}

func TestDecodeErrorsSayWhich(t *testing.T) {
	data, err := Encode(small())
	if err != nil {
		t.Fatal(err)
	}
	edit := func(at int, v ...byte) []byte {
		return append(append(slices.Clone(data[:at]), v...), data[at+len(v):]...)
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not a plan file"},
		{"another format", []byte("PK\x03\x04 and so on"), "not a plan file"},
		{"half a header", data[:20], "truncated"},
		{"half a payload", data[:len(data)/2], "truncated"},
		{"bytes after the end", append(slices.Clone(data), 0), "damaged"},
		{"newer", edit(len(magic), 7), "made by a newer dartsc: version 7, this dartsc reads 3"},
		{"older", edit(len(magic), 0), "made by an older dartsc: version 0, this dartsc reads 3"},
		{"a byte of the payload", edit(headerBytes+3, 0xff), "checksum does not match"},
		{"a byte of the checksum", edit(len(magic)+4, data[len(magic)+4]^1), "checksum does not match"},
		{"an absurd length", edit(headerBytes-8, binary.LittleEndian.AppendUint64(nil, math.MaxUint64)...), "truncated"},
	} {
		t.Run(c.name, func(t *testing.T) { assertError(t, second(Decode(c.data)), c.want) })
	}
}

func TestReadAndWriteFileErrorsNameTheFile(t *testing.T) {
	folder := t.TempDir()
	absent := filepath.Join(folder, "absent.dplan")
	assertError(t, second(ReadFile(absent)), absent)
	foreign := filepath.Join(folder, "foreign.dplan")
	if err := os.WriteFile(foreign, []byte("hello"), 0o666); err != nil {
		t.Fatal(err)
	}
	assertError(t, second(ReadFile(foreign)), "read "+foreign+": not a plan file")
	bad := small()
	bad.ArenaBytes = 0
	assertError(t, WriteFile(foreign, bad), "write "+foreign)
	if data, _ := os.ReadFile(foreign); string(data) != "hello" {
		t.Errorf("a plan that cannot be encoded has overwritten the file: %q", data)
	}
}

// A message may be wrong in ways that a Plan cannot express.
func TestDecodeRejectsMessages(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(p *planpb.Plan)
		want   string
	}{
		{"string beyond the table", func(p *planpb.Plan) { p.Programs[0].Launches[0].Kernel = 99 }, "string 99 of"},
		{"tensor beyond the table", func(p *planpb.Plan) { p.Programs[0].Buffers[1].Tensor = 99 }, "tensor type 99 of"},
		{"parameters beyond the table", func(p *planpb.Plan) { p.Programs[0].Launches[0].Params = 99 }, "parameters 99 of 2"},
		{"unknown element type", func(p *planpb.Plan) { p.Tensors[0].Dtype = 300 }, "element type 300"},
		{"unknown space", func(p *planpb.Plan) { p.Programs[0].Buffers[0].Space = 257 }, "space 257"},
		{"parameter twice", func(p *planpb.Plan) { p.Params[1].Params[1].Name = p.Params[1].Params[0].Name }, "twice"},
		{"parameter without value", func(p *planpb.Plan) { p.Params[0].Params[0].Value = nil }, "no value"},
		{"unknown kind of argument", func(p *planpb.Plan) { p.Programs[0].Launches[3].Device.Arguments[0].Kind = 5 }, "kind 5"},
		{"grid of two dimensions", func(p *planpb.Plan) { p.Programs[0].Launches[3].Device.Grid = []uint32{1, 2} }, "three dimensions"},
		{"buffer index beyond 31 bits", func(p *planpb.Plan) { p.Programs[0].Launches[0].Operands[0] = math.MaxUint32 }, "uses buffer 2147483647"},
		{"negative dimension", func(p *planpb.Plan) { p.Tensors[0].Shape[0] = -8 }, "not positive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			message := toProto(small())
			c.damage(message)
			payload, err := proto.Marshal(message)
			if err != nil {
				t.Fatal(err)
			}
			assertError(t, second(decodePayload(payload)), c.want)
		})
	}
}

func TestValidate(t *testing.T) {
	if err := Validate(small()); err != nil {
		t.Fatalf("the plan that is damaged below is itself wrong: %v", err)
	}
	type program = Program
	at := func(f func(p *program)) func(*Plan) { return func(p *Plan) { f(p.Programs[0]) } }
	on := func(f func(d *DeviceLaunch)) func(*Plan) {
		return func(p *Plan) { f(p.Programs[0].Launches[3].Device) }
	}
	for _, c := range []struct {
		name   string
		damage func(p *Plan)
		want   string
	}{
		{"negative arena", func(p *Plan) { p.ArenaBytes = -1 }, "arena of -1"},
		{"absurd arena", func(p *Plan) { p.ArenaBytes = math.MaxInt64 }, "arena of 9223372036854775807"},
		{"variable without a name", func(p *Plan) { p.Variables[0].Name = "" }, "no name of its own"},
		{"two variables of one name", func(p *Plan) { p.Variables[1].Name = "w" }, "no name of its own"},
		{"unknown kind of variable", func(p *Plan) { p.Variables[0].Kind = "x" }, `kind "x"`},
		{"unknown distribution", func(p *Plan) { p.Variables[0].Init.Distribution = "zipf" }, "zipf"},
		{"initial value not finite", func(p *Plan) { p.Variables[0].Init.Value = math.NaN() }, "NaN"},
		{"variables overlap", func(p *Plan) { p.Variables[1].Offset = 24 }, "w and step overlap"},
		{"variable leaves its region", func(p *Plan) { p.VariableBytes = 39 }, "leave the region"},
		{"variable not aligned", func(p *Plan) { p.Variables[1].Offset, p.VariableBytes = 36, 44 }, "not a multiple"},
		{"program without a name", at(func(p *program) { p.Name = "" }), "program 0"},
		{"two programs of one name", func(p *Plan) { p.Programs = append(p.Programs, &Program{Name: "train"}) }, "program 1"},
		{"no program", func(p *Plan) { p.Programs = append(p.Programs, nil) }, "program 1"},
		{"peak above the arena", at(func(p *program) { p.PeakBytes = 1025 }), "peak 1025"},
		{"negative lower bound", at(func(p *program) { p.LowerBound = -1 }), "lower bound -1"},
		{"negative offset", at(func(p *program) { p.Buffers[1].Offset = -4 }), "buffer 1: 480 bytes at offset -4"},
		{"offset that overflows", at(func(p *program) { p.Buffers[1].Offset = math.MaxInt64 - 3 }), "leave the region"},
		{"buffer leaves the arena", at(func(p *program) { p.Buffers[1].Offset = 548 }), "leave the region of 1024"},
		{"buffer not aligned", at(func(p *program) { p.Buffers[1].Offset = 482 }), "not a multiple of the 4 bytes of f32"},
		{"unknown space", at(func(p *program) { p.Buffers[1].Space = 2 }), "space 2"},
		{"invalid element type", at(func(p *program) { p.Buffers[1].DType = Invalid }), "element type 0"},
		{"unknown element type", at(func(p *program) { p.Buffers[1].DType = 8 }), "element type 8"},
		{"dimension zero", at(func(p *program) { p.Buffers[1].Shape = []int{2, 0} }), "not positive"},
		{"shape that overflows", at(func(p *program) { p.Buffers[1].Tensor = Tensor{DType: F32, Shape: []int{1 << 30, 1 << 30, 1 << 30}} }), "too large"},
		{"too many dimensions", at(func(p *program) { p.Buffers[1].Tensor = Tensor{DType: F32, Shape: make([]int, 17)} }), "rank 17"},
		{"order with an axis twice", at(func(p *program) { p.Buffers[1].Order = Layout{0, 2, 2, 1} }), "each axis"},
		{"order with an axis too many", at(func(p *program) { p.Buffers[1].Order = Layout{0, 2, 3, 1, 4} }), "each axis"},
		{"order with an axis too few", at(func(p *program) { p.Buffers[1].Order = Layout{0, 2, 1} }), "each axis"},
		{"order with a negative axis", at(func(p *program) { p.Buffers[1].Order = Layout{0, -2, 3, 1} }), "each axis"},
		{"input beyond the buffers", at(func(p *program) { p.Inputs[0].Buffer = 3 }), "input x is buffer 3 of 3"},
		{"negative result", at(func(p *program) { p.Results[0].Buffer = -1 }), "result y is buffer -1"},
		{"two inputs of one name", at(func(p *program) { p.Inputs = append(p.Inputs, p.Inputs[0]) }), "no name of its own"},
		{"no kernel", at(func(p *program) { p.Launches[0].Kernel = "" }), "names no kernel"},
		{"operand beyond the buffers", at(func(p *program) { p.Launches[0].Operands[1] = 3 }), "launch 0 (elementwise cell 3): uses buffer 3 of 3"},
		{"negative operand", at(func(p *program) { p.Launches[0].Operands[1] = -1 }), "uses buffer -1"},
		{"result overlaps an operand in part", at(func(p *program) { p.Buffers[1].Offset = 476 }), "overlaps operand 0 in part"},
		{"one result twice", at(func(p *program) { p.Launches[1].Results = []int{2, 2} }), "results 0 and 1 overlap"},
		{"very many results", at(func(p *program) { p.Launches[1].Results = make([]int, 257) }), "257 results"},
		{"sets of two sizes", at(func(p *program) { p.Launches[0].Sets = 3 }), "in 3 sets, want sets of one size"},
		{"negative sets", at(func(p *program) { p.Launches[0].Sets = -1 }), "in -1 sets"},
		{"sets without results", at(func(p *program) { p.Launches[0] = Launch{Kernel: "k", Sets: 1 << 40} }), "want sets of one size with results"},
		{"sets that read each other's results", at(func(p *program) {
			p.Launches[0] = Launch{Kernel: "k", Operands: []int{0, 1}, Results: []int{1, 2}, Sets: 2}
		}), "result 0 is operand 1, which is of another set"},
		{"infinite cost", at(func(p *program) { p.Launches[0].FLOPs = math.Inf(1) }), "finite"},
		{"negative cost", at(func(p *program) { p.Launches[0].Bytes = -1 }), "from 0"},
		{"parameter of another type", at(func(p *program) { p.Launches[1].Params["i"] = int32(1) }), "int32"},
		{"module without a source", func(p *Plan) { p.Modules[0].Source = "" }, "no name or no source"},
		{"image of no format", func(p *Plan) { p.Modules[0].Images = []Image{{"sm_90", "elf", []byte{1}}} }, `format "elf"`},
		{"negative registers", func(p *Plan) { p.Modules[0].Functions = []Function{{Name: "k", Registers: -1}} }, "function k"},
		{"module beyond the list", on(func(d *DeviceLaunch) { d.Module = 1 }), "module 1 of 1"},
		{"no function", on(func(d *DeviceLaunch) { d.Function = "" }), "names no function"},
		{"empty grid", on(func(d *DeviceLaunch) { d.Grid[2] = 0 }), "grid of [1048576 3 0]"},
		{"too many blocks", on(func(d *DeviceLaunch) { d.Grid[1] = 65536 }), "65535"},
		{"too many threads", on(func(d *DeviceLaunch) { d.Block[0] = 129 }), "1032 threads"},
		{"too much shared memory", on(func(d *DeviceLaunch) { d.SharedBytes = 1 << 20 }), "1048576 bytes of shared memory"},
		{"argument beyond the operands", on(func(d *DeviceLaunch) { d.Arguments[2].Index = 1 }), "argument 2 is operand 1 of 1"},
		{"argument beyond the results", on(func(d *DeviceLaunch) { d.Arguments[0].Index = -1 }), "argument 0 is result -1 of 1"},
		{"argument of more than 32 bits", on(func(d *DeviceLaunch) { d.Arguments[1].Integer = 1 << 31 }), "no 32-bit integer"},
		{"argument of unknown kind", on(func(d *DeviceLaunch) { d.Arguments[1].Kind = 9 }), "kind 9"},
		{"too many arguments", on(func(d *DeviceLaunch) { d.Arguments = make([]Argument, 513) }), "4104 bytes of arguments"},
		{"instruction reads ahead", at(func(p *program) { p.Launches[0].Code[0].Args[0] = 2 }), "reads register 2 of 2"},
		{"instruction reads a negative register", at(func(p *program) { p.Launches[0].Code[0].Args[0] = -1 }), "register -1"},
		{"result beyond the registers", at(func(p *program) { p.Launches[0].Params = Params{"results": []int{4}} }), "register 4 of 4"},
		{"code without results", at(func(p *program) { p.Launches[0].Params = nil }), "0 results, the launch has 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := small()
			for i := range p.Programs[0].Launches {
				p.Programs[0].Launches[i].Params = maps.Clone(p.Programs[0].Launches[i].Params)
			}
			c.damage(p)
			assertError(t, Validate(p), c.want)
			assertError(t, second(Encode(p)), c.want)
		})
	}
}

func TestPackArguments(t *testing.T) {
	d := small().Programs[0].Launches[3].Device
	got := d.PackArguments([]byte{7, 7, 7}, func(kind ArgumentKind, index int) uint64 { return 0x1000 + uint64(kind) })
	want := []byte{
		7, 7, 7, // what was there
		0x01, 0x10, 0, 0, 0, 0, 0, 0, // result
		0xfd, 0xff, 0xff, 0xff, 0, 0, 0, 0, // -3, a gap
		0x00, 0x10, 0, 0, 0, 0, 0, 0, // operand
		0, 0, 0, 0x3f, 0, 0, 0, 0, // 0.5, a gap
		0, 0, 0, 0, 0, 1, 0, 0, // 1<<40
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if d.ArgumentBytes() != len(want)-3 {
		t.Errorf("%d bytes of arguments, want %d", d.ArgumentBytes(), len(want)-3)
	}
}

func assertError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got error %v, want one line with %q", err, want)
	}
}

func second[T any](_ T, err error) error { return err }

// FuzzDecode feeds a file, and, past the checksum that would stop nearly every mutation, its payload.
func FuzzDecode(f *testing.F) {
	for _, p := range []*Plan{small(), looped(), large(3), {Name: "empty"}} {
		data, err := Encode(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[headerBytes:])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Decode(data)
		p, err := decodePayload(data)
		if err != nil {
			return
		}
		again, err := Encode(p)
		if err != nil {
			t.Fatalf("decoded but not encoded again: %v", err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("encoded again but not decoded: %v", err)
		}
	})
}

// BenchmarkFile is a full-size plan to bytes and back.
func BenchmarkFile(b *testing.B) {
	p := large(50000)
	for b.Loop() {
		data, err := Encode(p)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
	}
}
