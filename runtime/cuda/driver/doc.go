//go:build !(cuda && linux && cgo && (amd64 || arm64))

// Package driver is part of builds for CUDA only: on Linux, with build tag cuda.
package driver
