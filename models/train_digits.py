#!/usr/bin/env python3
"""Trains the digits model of the demo and writes digits.onnx and digits-samples.json beside this file.

Data: scikit-learn's bundled 8 x 8 digits (1,797 images, no download). Model: 64 -> 64 -> 32 -> 10, ReLU, softmax, with the
scaling of the pixels inside the model. Input `image` f32[N, 64] with pixel values 0..16, row by row; output `probabilities`
f32[N, 10]. The seed is fixed; the versions of numpy and scikit-learn may still change the last bits of the weights.

    pip install numpy scikit-learn onnx
    python models/train_digits.py
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 7
HERE = pathlib.Path(__file__).resolve().parent


def train():
    digits = load_digits()
    pixels = (digits.data / 16.0).astype(np.float32)
    split = train_test_split(
        pixels, digits.target, np.arange(len(pixels)), test_size=0.25, random_state=SEED, stratify=digits.target
    )
    train_x, test_x, train_y, test_y, _, test_at = split
    model = MLPClassifier((64, 32), alpha=1e-3, max_iter=400, random_state=SEED)
    model.fit(train_x, train_y)
    print(f"accuracy: training {model.score(train_x, train_y):.4f}, test {model.score(test_x, test_y):.4f} ({len(test_y)} images)")
    return digits, model, test_at


def export(model):
    weights = [w.astype(np.float32) for w in model.coefs_]
    biases = [b.astype(np.float32) for b in model.intercepts_]
    initializers = [numpy_helper.from_array(np.array(1 / 16, np.float32), "scale")]
    nodes = [helper.make_node("Mul", ["image", "scale"], ["x0"], name="scale_pixels")]
    for i, (w, b) in enumerate(zip(weights, biases)):
        initializers += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        last = i == len(weights) - 1
        nodes.append(helper.make_node("Gemm", [f"x{i}", f"w{i}", f"b{i}"], ["logits" if last else f"h{i}"], name=f"dense{i}"))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{i}"], [f"x{i + 1}"], name=f"relu{i}"))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1, name="softmax"))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        initializers,
    )
    onnx_model = helper.make_model(graph, producer_name="train_digits", opset_imports=[helper.make_opsetid("", 17)])
    onnx_model.ir_version = 8
    onnx.checker.check_model(onnx_model)
    path = HERE / "digits.onnx"
    onnx.save(onnx_model, path)
    print(f"{path.name}: {path.stat().st_size} bytes")


def write_samples(digits, model, test_at):
    """One test image of each digit that the model reads right, as plain numbers that a user can paste."""
    samples = []
    guess = model.predict((digits.data / 16.0).astype(np.float32))
    for digit in range(10):
        at = next(i for i in test_at if digits.target[i] == guess[i] == digit)
        probabilities = model.predict_proba((digits.data[at : at + 1] / 16.0).astype(np.float32))[0]
        samples.append(
            {
                "label": digit,
                "image": [int(v) for v in digits.data[at]],
                "probabilities": [round(float(p), 6) for p in probabilities],
            }
        )
    text = ",\n".join("  " + json.dumps(s) for s in samples)
    (HERE / "digits-samples.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    digits, model, test_at = train()
    export(model)
    write_samples(digits, model, test_at)
