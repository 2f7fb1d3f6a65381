"""Checks an ONNX file with the reference checker.

usage: check.py MODEL.onnx

The model must pass the checker and strict shape inference, and every value that its value_info describes must have the
type that inference finds.
"""

import sys

import onnx


def main(model_path):
    model = onnx.load(model_path)
    onnx.checker.check_model(model, full_check=True)
    check_value_info(model)


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
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
