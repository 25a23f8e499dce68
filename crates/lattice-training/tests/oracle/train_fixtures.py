#!/usr/bin/env python3
"""Writes tests/fixtures/train/: 600 of scikit-learn's bundled digits, and an untrained network for them.

`digits.bin` holds for each image 64 pixels (0 to 16) and its class, one byte each.

    pip install numpy onnx scikit-learn
    python crates/lattice-training/tests/oracle/train_fixtures.py
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

HERE = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "train"
SIZES = [64, 16, 10]
rng = np.random.default_rng(5)


def main():
    HERE.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    rows = np.concatenate([digits.data, digits.target[:, None]], axis=1)[:600]
    (HERE / "digits.bin").write_bytes(rows.astype(np.uint8).tobytes())
    initializers, nodes, last = [numpy_helper.from_array(np.array(1 / 16, np.float32), "scale")], [], "x"
    nodes.append(helper.make_node("Mul", ["image", "scale"], ["x"]))
    for i, (inputs, outputs) in enumerate(zip(SIZES, SIZES[1:])):
        bound = np.sqrt(6 / inputs)
        weight = rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
        name = f"layers.{i}"
        initializers += [
            numpy_helper.from_array(weight, f"{name}.weight"),
            numpy_helper.from_array(np.zeros(outputs, np.float32), f"{name}.bias"),
        ]
        end = "logits" if i == len(SIZES) - 2 else f"h{i}"
        nodes.append(helper.make_node("Gemm", [last, f"{name}.weight", f"{name}.bias"], [end], transB=1))
        if end != "logits":
            nodes.append(helper.make_node("Relu", [end], [f"r{i}"]))
            last = f"r{i}"
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mlp",
        [value("image", TensorProto.FLOAT, ["N", 64])],
        [value("probabilities", TensorProto.FLOAT, ["N", 10])],
        initializers,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    onnx.checker.check_model(proto)
    onnx.save(proto, HERE / "mlp.onnx")


main()
