"""Checks an ONNX file with the reference checker and an independent runtime.

usage: check.py MODEL.onnx CASE.npz...

A case holds arrays "input NAME" and "expected NAME". The model must pass the checker and strict shape inference, and
every value that its value_info describes must have the type that inference finds. Prints the largest difference of any
result from what is expected, relative to the largest expected number, and what version of onnxruntime gave it.
"""

import sys

import numpy
import onnx
import onnxruntime


def main(model_path, case_paths):
    model = onnx.load(model_path)
    onnx.checker.check_model(model, full_check=True)
    check_value_info(model)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for path in case_paths:
        case = numpy.load(path)
        inputs = {name.removeprefix("input "): case[name] for name in case.files if name.startswith("input ")}
        names = [output.name for output in session.get_outputs()]
        for name, got in zip(names, session.run(names, inputs)):
            want = case["expected " + name]
            if got.shape != want.shape:
                sys.exit(f"{path}: {name} has shape {got.shape}, want {want.shape}")
            worst = max(worst, float(numpy.abs(got - want).max() / max(numpy.abs(want).max(), 1e-30)))
    print(f"max relative error {worst:.3g} (onnxruntime {onnxruntime.__version__})")


def check_value_info(model):
    """Infers all types anew and compares them with those that the file gives."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    found = {value.name: value.type for value in inferred.graph.value_info}
    for value in model.graph.value_info:
        if value.name not in found:
            sys.exit(f"value_info {value.name} names no value")
        want, got = value.type.tensor_type, found[value.name].tensor_type
        if want.elem_type != got.elem_type:
            sys.exit(f"{value.name}: element type {want.elem_type}, inference finds {got.elem_type}")
        if len(want.shape.dim) != len(got.shape.dim):
            sys.exit(f"{value.name}: rank {len(want.shape.dim)}, inference finds {len(got.shape.dim)}")
        for a, b in zip(want.shape.dim, got.shape.dim):
            if b.HasField("dim_value") and a.dim_value != b.dim_value:
                sys.exit(f"{value.name}: dimension {a}, inference finds {b}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
