// Package onnxpb is the ONNX file as protobuf messages, generated from onnx.proto. It knows nothing of the IR; package
// ops/onnx fills and reads the messages.
package onnxpb

// Needs protoc 3.21 and: go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
// The path before "=" is the name under which the file is registered: dartsc/onnx.proto.

//go:generate protoc --proto_path=dartsc=. --go_out=. --go_opt=module=github.com/dartsc/dartsc/ops/onnx/onnxpb dartsc/onnx.proto
