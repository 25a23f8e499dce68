#!/usr/bin/env python3
"""Writes TensorFlow Lite models, random inputs and LiteRT's outputs into OUT_DIR/<model name>: an oracle for `oracle_models`.

    pip install ai-edge-litert numpy
    python litert_outputs.py OUT_DIR MODEL.tflite...
    LATTICE_MODEL_ORACLES=OUT_DIR cargo test -p lattice-import oracle_models

A folder holds `model.tflite`, `input-I.npy` and `output-I.npy` in graph order, and `names.json`, which also says for each
output how far LiteRT's own kernels (plain, reference, XNNPACK) are apart. LiteRT knows no operators of MediaPipe: where
Convolution2DTransposeBias stands, the oracle runs TRANSPOSE_CONV, which does the same. A model that LiteRT cannot run is
named and left out.
"""

import json
import pathlib
import shutil
import struct
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema


def with_builtin_operators(data):
    """The model's bytes, MediaPipe's transposed convolution replaced."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    changed = False
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            if code.customCode != b"Convolution2DTransposeBias":
                continue
            changed = True
            padding, width, height = struct.unpack_from("<3i", bytes(operator.customOptions))
            options = schema.TransposeConvOptionsT()
            options.padding = schema.Padding.SAME if padding == 1 else schema.Padding.VALID
            options.strideW, options.strideH = width, height
            shape = schema.BufferT()
            shape.data = np.frombuffer(np.asarray(graph.tensors[operator.outputs[0]].shape, np.int32).tobytes(), np.uint8)
            model.buffers.append(shape)
            tensor = schema.TensorT()
            tensor.name, tensor.shape, tensor.type = b"output_shape", [4], schema.TensorType.INT32
            tensor.buffer = len(model.buffers) - 1
            graph.tensors.append(tensor)
            x, weights, bias = operator.inputs
            operator.inputs = [len(graph.tensors) - 1, weights, x, bias]
            operator.builtinOptionsType = schema.BuiltinOptions.TransposeConvOptions
            operator.builtinOptions, operator.customOptions = options, None
            kind = schema.OperatorCodeT()
            kind.builtinCode = kind.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE_CONV
            kind.version = 3
            model.operatorCodes.append(kind)
            operator.opcodeIndex = len(model.operatorCodes) - 1
    if not changed:
        return data
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def random_input(random, detail):
    shape, dtype = detail["shape"], detail["dtype"]
    if np.issubdtype(dtype, np.floating):
        return random.uniform(0, 1, size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, size=shape, endpoint=True).astype(dtype)


KERNELS = ["BUILTIN_WITHOUT_DEFAULT_DELEGATES", "BUILTIN_REF", "AUTO"]


def run(data, inputs, kernels):
    resolver = getattr(litert.OpResolverType, kernels)
    model = litert.Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=resolver)
    model.allocate_tensors()
    for detail, value in zip(model.get_input_details(), inputs):
        model.set_tensor(detail["index"], value)
    model.invoke()
    return [model.get_tensor(detail["index"]) for detail in model.get_output_details()]


def write(out_dir, path):
    data = with_builtin_operators(pathlib.Path(path).read_bytes())
    details = litert.Interpreter(model_content=data)
    random = np.random.default_rng(7)
    inputs = [random_input(random, detail) for detail in details.get_input_details()]
    # The plain kernels are the wanted values; the others tell how much rounding matters.
    wanted, *others = [run(data, inputs, kernels) for kernels in KERNELS]
    apart = lambda i: max(float(np.abs(other[i].astype(np.float64) - wanted[i]).max()) for other in others)
    out = pathlib.Path(out_dir) / pathlib.Path(path).stem
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, out / "model.tflite")
    for what, arrays in [("input", inputs), ("output", wanted)]:
        for i, array in enumerate(arrays):
            np.save(out / f"{what}-{i}.npy", array)
    names = {
        "inputs": [detail["name"] for detail in details.get_input_details()],
        "outputs": [detail["name"] for detail in details.get_output_details()],
        "apart": [apart(i) for i in range(len(wanted))],
    }
    (out / "names.json").write_text(json.dumps(names) + "\n")


def main(out_dir, *paths):
    for path in paths:
        try:
            write(out_dir, path)
        except (RuntimeError, ValueError) as error:
            print(f"{path}: left out: {str(error).splitlines()[0]}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
