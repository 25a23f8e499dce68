#!/usr/bin/env python3
"""Writes a model, random inputs and ONNX Runtime's outputs into OUT_DIR/<model name>: an oracle for the test `oracle_models`.

    pip install onnxruntime
    python onnxruntime_outputs.py OUT_DIR MODEL.onnx [NAME=1,2,3]... [NAME:=16000]...
    LATTICE_MODEL_ORACLES=OUT_DIR cargo test -p lattice-import oracle_models

Dimensions that the file leaves open become 1 unless NAME=SHAPE is given; NAME:=NUMBER sets an integer scalar. The folder holds `model.onnx`, `input-I.npy` and
`output-I.npy` in graph order, and `names.json`. An output that is dequantised may be two quanta apart: the runtime
rounds products of float scales, its own kernels differ by as much.
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import onnx
import onnxruntime as ort

TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(bool)": np.bool_,
}


def main(out_dir, path, *rest):
    given = [argument.split("=") for argument in rest]
    shapes = {name: [int(d) for d in dims.split(",")] for name, dims in given if not name.endswith(":")}
    scalars = {name[:-1]: int(value) for name, value in given if name.endswith(":")}
    out = pathlib.Path(out_dir) / pathlib.Path(path).stem
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, out / "model.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(7)
    inputs = {}
    for i, value in enumerate(session.get_inputs()):
        shape = shapes.get(value.name, [d if isinstance(d, int) and d > 0 else 1 for d in value.shape])
        kind = TYPES[value.type]
        data = random.normal(size=shape) if kind in (np.float32, np.float64) else random.integers(0, 2, size=shape)
        inputs[value.name] = np.asarray(scalars.get(value.name, data)).astype(kind)
        np.save(out / f"input-{i}.npy", inputs[value.name])
    for i, data in enumerate(session.run(None, inputs)):
        np.save(out / f"output-{i}.npy", data)
    names = {"inputs": list(inputs), "outputs": [v.name for v in session.get_outputs()]}
    graph = onnx.load(path).graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    quanta = {n.output[0]: stored[n.input[1]].item() for n in graph.node if n.op_type == "DequantizeLinear" and stored.get(n.input[1], np.ones(2)).size == 1}
    names["apart"] = [2 * quanta.get(name, 0) for name in names["outputs"]]
    (out / "names.json").write_text(json.dumps(names) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
