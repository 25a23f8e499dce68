#!/usr/bin/env python3
"""Writes tests/fixtures/lora/: a small model, two adapters in PEFT's form, and what NumPy computes in double precision.

The merge follows peft's `get_delta_weight` and `add_weighted_adapter` (combination types cat and linear).

    pip install numpy onnx safetensors
    python crates/lattice-training/tests/oracle/lora_fixtures.py
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "lora"
rng = np.random.default_rng(11)


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


# The anonymous weight is what torch.onnx.export makes of a linear layer without a bias: its transpose, under no name.
W1, B1, W2, K = normal(5, 6), normal(5), normal(4, 5), normal(3, 1, 2, 2)
X = normal(2, 6)
MODULES = {"mlp.fc1": (5, 6), "mlp.fc2": (4, 5), "head": (3, 4)}


def model():
    nodes = [
        helper.make_node("Gemm", ["x", "mlp.fc1.weight", "mlp.fc1.bias"], ["h"], name="/mlp/fc1/Gemm", transB=1),
        helper.make_node("Relu", ["h"], ["r"], name="/mlp/act/Relu"),
        helper.make_node("MatMul", ["r", "onnx::MatMul_9"], ["y"], name="/mlp/fc2/MatMul"),
        helper.make_node("Reshape", ["y", "shape"], ["image"], name="/Reshape"),
        helper.make_node("Conv", ["image", "head.weight"], ["z"], name="/head/Conv"),
    ]
    initializers = [
        numpy_helper.from_array(W1, "mlp.fc1.weight"),
        numpy_helper.from_array(B1, "mlp.fc1.bias"),
        numpy_helper.from_array(np.ascontiguousarray(W2.T), "onnx::MatMul_9"),
        numpy_helper.from_array(np.array([2, 1, 2, 2]), "shape"),
        numpy_helper.from_array(K, "head.weight"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "lora",
        [value("x", TensorProto.FLOAT, [2, 6])],
        [value("z", TensorProto.FLOAT, [2, 3, 1, 1])],
        initializers,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    onnx.checker.check_model(proto)
    return proto


def adapter(folder, config, modules, dtype):
    factors = {}
    for module in modules:
        out, inputs = MODULES[module]
        rank = config.get("rank_pattern", {}).get(module.split(".")[-1], config["r"])
        a, b = normal(rank, inputs).astype(dtype), normal(out, rank).astype(dtype)
        shapes = ((rank, 1, 2, 2), (out, rank, 1, 1)) if module == "head" else (a.shape, b.shape)
        key = f"base_model.model.{module}"
        factors |= {f"{key}.lora_A.weight": a.reshape(shapes[0]), f"{key}.lora_B.weight": b.reshape(shapes[1])}
    (HERE / folder).mkdir(parents=True, exist_ok=True)
    save_file(factors, HERE / folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (HERE / folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    loaded = {}
    for module in modules:
        a, b = (factors[f"base_model.model.{module}.lora_{f}.weight"].astype(np.float64) for f in "AB")
        a, b = a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)
        rank = a.shape[0]
        alpha = config.get("alpha_pattern", {}).get(module.split(".")[-1], config["lora_alpha"])
        loaded[module] = (a, b, alpha / (np.sqrt(rank) if config.get("use_rslora") else rank))
    return loaded


def run(deltas):
    weight = lambda module, w: w.astype(np.float64).reshape(w.shape[0], -1) + deltas.get(module, 0)
    h = np.maximum(X.astype(np.float64) @ weight("mlp.fc1", W1).T + B1, 0)
    return (h @ weight("mlp.fc2", W2).T @ weight("head", K).T).ravel().tolist()


def single(one, weight=1.0):
    return {m: weight * s * (b @ a) for m, (a, b, s) in one.items()}


def cat(parts):
    return {m: sum(w * p[m][2] * (p[m][1] @ p[m][0]) for p, w in parts if m in p) for m in MODULES}


def linear(parts):
    deltas = {}
    for m in MODULES:
        own = [(p[m], w) for p, w in parts if m in p]
        if own:
            a = sum(np.sign(w * s) * np.sqrt(abs(w * s)) * a for (a, _, s), w in own)
            b = sum(np.sqrt(abs(w * s)) * b for (_, b, s), w in own)
            deltas[m] = b @ a
    return deltas


def main():
    HERE.mkdir(parents=True, exist_ok=True)
    onnx.save(model(), HERE / "model.onnx")
    base = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "bias": "none", "use_dora": False}
    first = adapter("first", base, ["mlp.fc1", "mlp.fc2"], np.float32)
    second = adapter("second", base | {"use_rslora": True, "alpha_pattern": {"head": 5}}, list(MODULES), np.float16)
    parts = [(first, 0.75), (second, -0.5)]
    outputs = {
        "none": run({}),
        "first": run(single(first)),
        "second": run(single(second)),
        "half": run(single(first, 0.5)),
        "cat": run(cat(parts)),
        "linear": run(linear(parts)),
    }
    (HERE / "expected.json").write_text(json.dumps({"x": X.ravel().tolist(), "outputs": outputs}, indent=1) + "\n")


main()
