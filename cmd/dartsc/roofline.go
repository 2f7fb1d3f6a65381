package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dartsc/dartsc/runtime/cpu"
	"github.com/dartsc/dartsc/runtime/roofline"
)

// rooflineOf returns what a device can do at most; that it could not be kept is only logged.
func rooflineOf(ctx context.Context, d roofline.Device, again bool) (roofline.Roofline, error) {
	r, err := roofline.Of(ctx, d, again)
	if err != nil && r.Workers > 0 {
		slog.Warn(err.Error())
		err = nil
	}
	return r, err
}

// bindPredicted adds --device to a command that predicts times.
func bindPredicted(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "device", "", "GPU that times are predicted for: "+strings.Join(roofline.GPUs(), ", ")+" (default the first that runs such a plan)")
	complete(cmd, "device", roofline.GPUs()...)
}

// predictedOn is the roofline by which the times of plans for a target are predicted: that of this machine's CPU, or of a GPU by its data sheet.
func predictedOn(ctx context.Context, target, device string, workers int) (roofline.Roofline, error) {
	if device != "" && !slices.Contains(roofline.GPUs(), device) {
		return roofline.Roofline{}, usagef("--device %q: want %s", device, strings.Join(roofline.GPUs(), ", "))
	}
	if host := cpu.New(workers); device == "" && target == host.Target() {
		return rooflineOf(ctx, host, false)
	}
	gpu, ok := roofline.FindGPU(device, target)
	if !ok {
		return roofline.Roofline{}, usagef("--device %s runs no plans for %s", device, target)
	}
	return gpu.Roofline(), nil
}
