#!/usr/bin/env python3
"""Writes `tests/fixtures/quantised.json`: small networks quantised to 8 bits, with ONNX Runtime's stored outputs.

    pip install onnx onnxruntime
    python quantised_fixtures.py > ../fixtures/quantised.json

Each network in QDQ form and in ONNX's own quantised operators: the bundled digits model, and a small one with
convolutions (deep, strided, depthwise), sums, products, pools, joins, table functions, a dense layer and a softmax.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import quantized_models

RANDOM = np.random.default_rng(5)
DIGITS = Path(__file__).resolve().parents[4] / "models/digits.onnx"


def network():
    stored, nodes = [], []

    def weights(name, *shape):
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 4
        stored.append(numpy_helper.from_array((RANDOM.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32), name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=f"n_{output}", **attributes))
        return output

    x = node("Conv", ["x", weights("w0", 8, 3, 3, 3), weights("b0", 8)], "c0", pads=[1, 1, 1, 1], strides=[2, 1])
    x = node("Relu", [x], "r0")
    y = node("Conv", [x, weights("w1", 8, 1, 3, 3), weights("b1", 8)], "c1", pads=[1, 1, 1, 1], group=8)
    y = node("Sigmoid", [y], "s1")
    y = node("Mul", [x, y], "m1")
    y = node("Conv", [y, weights("w2", 8, 8, 1, 1)], "c2")
    y = node("Clip", [y, "zero", "six"], "k2")
    y = node("Add", [x, y], "a2")
    p = node("MaxPool", [y], "p3", kernel_shape=[2, 2], strides=[2, 2])
    q = node("AveragePool", [y], "q3", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0])
    y = node("Concat", [p, q], "j3", axis=1)
    y = node("Conv", [y, weights("w4", 12, 16, 3, 3), weights("b4", 12)], "c4")
    y = node("Tanh", [y], "t4")
    y = node("GlobalAveragePool", [y], "g5")
    y = node("Flatten", [y], "f5")
    y = node("Gemm", [y, weights("w6", 10, 12), weights("b6", 10)], "d6", transB=1)
    node("Softmax", [y], "y")
    stored += [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in [("zero", 0), ("six", 6)]]
    shape = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
    graph = helper.make_graph(nodes, "network", [shape("x", [1, 3, 16, 11])], [shape("y", [1, 10])], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="")
    model.ir_version = 8
    return model


def packed(array):
    return {"dtype": {"float32": "f32", "uint8": "u8"}[array.dtype.name], "shape": list(array.shape), "data": array.tobytes().hex()}


def without_last_dequantisation(model):
    """The model whose outputs are the stored integers."""
    outputs = {o.name: o for o in model.graph.output}
    for node in [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.output[0] in outputs]:
        output = outputs[node.output[0]]
        output.name = node.input[0]
        output.type.tensor_type.elem_type = TensorProto.UINT8
        model.graph.node.remove(node)
    return model


def case(name, path, *options):
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "model.onnx")
        quantized_models.main(path, out, *options)
        model = without_last_dequantisation(onnx.load(out))
    del model.graph.value_info[:]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = [RANDOM.normal(size=[d if isinstance(d, int) else 1 for d in v.shape]).astype(np.float32) for v in session.get_inputs()]
    outputs = session.run(None, {v.name: x for v, x in zip(session.get_inputs(), inputs)})
    return {"name": name, "model": model.SerializeToString().hex(), "inputs": [packed(x) for x in inputs], "outputs": [packed(y) for y in outputs]}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "network.onnx")
        onnx.save(network(), path)
        networks = [("network", path), ("digits", str(DIGITS))]
        forms = [("qdq", []), ("operators", ["--operators"])]
        cases = [case(f"{name}_{form}", path, *options) for name, path in networks for form, options in forms]
    json.dump(cases, sys.stdout, indent=0, separators=(",", ":"))
    print()
