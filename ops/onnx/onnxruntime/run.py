"""Runs an ONNX file in onnxruntime on the CPU.

usage: run.py FOLDER

FOLDER/request.json names the model, the inputs with their shapes (input I lies in I.in as float32, and is converted to
the model's type), the threads, and how often to run. Result I goes to I.out as float32; standard output gets JSON: the version, the seconds of every run, and the
results' names and shapes.
"""

import json
import os
import sys
import time

import numpy
import onnxruntime


def main(folder):
    with open(os.path.join(folder, "request.json")) as file:
        request = json.load(file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = request["threads"]
    session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options, providers=["CPUExecutionProvider"])
    inputs = {}
    for i, value in enumerate(request["inputs"]):
        data = numpy.fromfile(os.path.join(folder, f"{i}.in"), dtype="<f4").reshape(value["shape"])
        kind = {x.name: x.type for x in session.get_inputs()}[value["name"]]
        inputs[value["name"]] = data.astype({"tensor(float16)": "float16", "tensor(double)": "float64", "tensor(int32)": "int32"}.get(kind, "float32"))
    seconds = []
    for _ in range(request["runs"]):
        start = time.perf_counter()
        results = session.run(None, inputs)
        seconds.append(time.perf_counter() - start)
    outputs = []
    for i, (output, result) in enumerate(zip(session.get_outputs(), results)):
        result.astype("<f4").tofile(os.path.join(folder, f"{i}.out"))
        outputs.append({"name": output.name, "shape": list(result.shape)})
    json.dump({"version": onnxruntime.__version__, "seconds": seconds, "outputs": outputs}, sys.stdout)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
