package main

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/compiler"
	"github.com/dartsc/dartsc/runtime"
	"github.com/dartsc/dartsc/runtime/cpu"
	"github.com/dartsc/dartsc/runtime/cuda"
)

// deviceFlags say what a plan runs on.
type deviceFlags struct {
	device, gpu string
	workers     int
}

// bind adds the flags to a command.
func (o *deviceFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.device, "device", "", "cpu, cuda, or cuda:N for the GPU of that number (default a GPU if there is one, else cpu)")
	flags.StringVar(&o.gpu, "gpu", "", "the original's name for --device cuda:N")
	flags.IntVar(&o.workers, "workers", 0, "processors to use, which changes no result (default all)")
	complete(cmd, "device", "cpu", "cuda", "cuda:0")
}

// check finds values that mean nothing.
func (o *deviceFlags) check() error {
	if o.workers < 0 {
		return usagef("--workers must be at least 1, or 0 for all processors")
	}
	if o.device != "" && o.gpu != "" {
		return usagef("--gpu and --device name a device each: give one of them")
	}
	_, err := o.wanted()
	return err
}

// The values of wanted that are no number of a GPU.
const (
	anyDevice = -1
	onCPU     = -2
)

// wanted is the number of the GPU that the flags name, onCPU, or anyDevice.
func (o *deviceFlags) wanted() (int, error) {
	flag, given, number := "gpu", o.gpu, o.gpu
	switch {
	case o.device == "" && o.gpu == "":
		return anyDevice, nil
	case o.device == "cpu":
		return onCPU, nil
	case o.device == "cuda":
		return 0, nil
	case o.device != "":
		flag, given, number = "device", o.device, strings.TrimPrefix(o.device, "cuda:")
	}
	if strings.Contains(given, ",") {
		return 0, usagef("--%s %q: a run uses one device", flag, given)
	}
	index, err := strconv.ParseUint(number, 10, 16)
	if err != nil || number == o.device {
		return 0, usagef("--%s %q: want %s", flag, given, map[string]string{"gpu": "the number of a GPU, from 0", "device": "cpu, cuda or cuda:N"}[flag])
	}
	return int(index), nil
}

// openFor returns the device that the flags name, for a plan that is to be compiled in a precision; it is wrong usage if
// the device has no such.
func (o *deviceFlags) openFor(precision string) (runtime.Device, error) {
	device, err := o.open("")
	if err != nil {
		return nil, err
	}
	return device, checkPrecision(precision, device.Target(), wantDevice)
}

// open returns the device that the flags name. Where they name none it is the first GPU, if this build, the driver and
// the compiler know one, else the CPU; for a plan that is compiled already, whose target is given, it is one that runs it.
func (o *deviceFlags) open(target string) (runtime.Device, error) {
	wanted, err := o.wanted()
	switch {
	case err != nil:
		return nil, err
	case wanted == onCPU, wanted == anyDevice && target == cpu.New(0).Target():
		return cpu.New(o.workers), nil
	case wanted == anyDevice:
		wanted = 0
	}
	targets := compiler.Targets()
	if target != "" {
		targets = []string{target}
	}
	gpu, err := cuda.New(wanted, targets)
	if err == nil {
		return gpu, nil
	}
	if o.device == "" && o.gpu == "" && target == "" {
		slog.Debug("no GPU is used", "reason", err)
		return cpu.New(o.workers), nil
	}
	return nil, fmt.Errorf("--device cuda:%d: %w", wanted, err)
}
