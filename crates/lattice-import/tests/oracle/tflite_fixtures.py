#!/usr/bin/env python3
"""Writes tests/fixtures/tflite.json: small TensorFlow Lite files of one operator each, inputs, and LiteRT's outputs.

    pip install ai-edge-litert numpy
    python tflite_fixtures.py > ../fixtures/tflite.json

One JSON object a line: name, model (hex), inputs and outputs (dtype, shape, little-endian hex). The seed is fixed.
"""

import json
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

RANDOM = np.random.default_rng(12)
KINDS = {"float32": ("f32", 0), "float16": ("f16", 1), "int32": ("i32", 2), "uint8": ("u8", 3), "int64": ("i64", 4),
         "bool": ("bool", 6), "int16": ("i16", 7), "complex64": ("complex", 8), "int8": ("i8", 9)}
CASES = []


class Operand:
    """A tensor: fed at run time, or stored; quantised by scales, zero points and the axis that they lie along."""

    def __init__(self, array, stored=False, quantization=None):
        self.array, self.stored, self.quantization = np.asarray(array), stored, quantization


def fed(array, quantization=None):
    return Operand(array, False, quantization)


def stored(array, quantization=None):
    return Operand(array, True, quantization)


def ints(*values):
    return stored(np.array(values, np.int32))


def f32(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def i8(*shape):
    return RANDOM.integers(-128, 128, size=shape).astype(np.int8)


def packed(array):
    little = array.astype(array.dtype.newbyteorder("<"))
    return {"dtype": KINDS[array.dtype.name][0], "shape": list(array.shape), "data": little.tobytes().hex()}


def tensor_of(model, name, dtype, shape, data=None, quantization=None):
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape = name.encode(), KINDS[np.dtype(dtype).name][1], list(shape)
    buffer = schema.BufferT()
    if data is not None:
        buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    if quantization is not None:
        scales, zero_points, axis = quantization
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = list(np.atleast_1d(scales).astype(float))
        tensor.quantization.zeroPoint = [int(z) for z in np.atleast_1d(zero_points)]
        tensor.quantization.quantizedDimension = axis
    return tensor


def file_of(operator, options, operands, results, version, then):
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
    model.operatorCodes = [code]
    graph, node = schema.SubGraphT(), schema.OperatorT()
    graph.tensors, graph.inputs, node.inputs, node.outputs = [], [], [], []
    for i, operand in enumerate(operands):
        if operand is None:
            node.inputs.append(-1)
            continue
        data = operand.array if operand.stored else None
        array = operand.array
        graph.tensors.append(tensor_of(model, f"x{i}", array.dtype, array.shape, data, operand.quantization))
        node.inputs.append(len(graph.tensors) - 1)
        if not operand.stored:
            graph.inputs.append(len(graph.tensors) - 1)
    for i, (dtype, quantization) in enumerate(results):
        graph.tensors.append(tensor_of(model, f"y{i}", dtype, [], None, quantization))
        node.outputs.append(len(graph.tensors) - 1)
    graph.outputs = list(node.outputs)
    if options is not None:
        node.builtinOptions = options
        node.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    graph.operators, model.subgraphs = [node], [graph]
    # A complex result can only be read by another operator.
    if then is not None:
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = getattr(schema.BuiltinOperator, then), 1
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        model.operatorCodes.append(code)
        graph.tensors.append(tensor_of(model, "part", "float32", []))
        part = schema.OperatorT()
        part.opcodeIndex, part.inputs, part.outputs = 1, node.outputs, [len(graph.tensors) - 1]
        graph.operators, graph.outputs = [node, part], part.outputs
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def case(name, operator, operands, options=None, results=(("float32", None),), version=1, then=None, **fields):
    if options is not None:
        options = getattr(schema, f"{options}OptionsT")()
        for field, value in fields.items():
            assert hasattr(options, field), f"{name}: {field}"
            setattr(options, field, value)
    data = file_of(operator, options, operands, results, version, then)
    resolver = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    model = litert.Interpreter(model_content=data, experimental_op_resolver_type=resolver)
    model.allocate_tensors()
    inputs = [operand.array for operand in operands if operand is not None and not operand.stored]
    for detail, array in zip(model.get_input_details(), inputs):
        model.set_tensor(detail["index"], array)
    model.invoke()
    outputs = [np.asarray(model.get_tensor(detail["index"])) for detail in model.get_output_details()]
    shown = {"inputs": [packed(a) for a in inputs], "outputs": [packed(a) for a in outputs]}
    CASES.append({"name": f"tflite_{name}", "model": data.hex(), **shown})


def arithmetic():
    x = f32(2, 3, 2, 3)
    for name in ["ABS", "CEIL", "COS", "FLOOR", "HARD_SWISH", "LOGISTIC", "NEG", "RELU", "RELU6", "RELU_N1_TO_1",
                 "ROUND", "SIN", "SQUARE", "TANH", "EXP", "ELU"]:
        case(name.lower(), name, [fed(3 * x)])
    for name in ["LOG", "SQRT", "RSQRT"]:
        case(name.lower(), name, [fed(np.abs(x) + 0.1)])
    case("leaky_relu", "LEAKY_RELU", [fed(x)], "LeakyRelu", alpha=0.3)
    case("gelu", "GELU", [fed(x)], "Gelu", approximate=False)
    case("gelu_tanh", "GELU", [fed(x)], "Gelu", approximate=True)
    for i, (name, options) in enumerate([("ADD", "Add"), ("SUB", "Sub"), ("MUL", "Mul"), ("DIV", "Div")]):
        case(name.lower(), name, [fed(x), fed(f32(2, 3) + 4)], options, fusedActivationFunction=i)
    case("add_scalar", "ADD", [fed(x), stored(np.float32(0.5))], "Add")
    for name in ["MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"]:
        case(name.lower(), name, [fed(x), fed(f32(1, 3, 1, 3))])
    case("pow", "POW", [fed(np.abs(x)), stored(f32(3))])
    case("prelu", "PRELU", [fed(x), stored(f32(1, 1, 3))])
    case("add_n", "ADD_N", [fed(x), fed(f32(2, 3, 2, 3)), fed(f32(2, 3, 2, 3))])
    flags = [("bool", None)]
    for name in ["EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"]:
        case(name.lower(), name, [fed(np.round(x)), fed(np.round(f32(3)))], results=flags)
    a, b = x > 0, x > 0.5
    case("logical_and", "LOGICAL_AND", [fed(a), fed(b)], results=flags)
    case("logical_or", "LOGICAL_OR", [fed(a), fed(b)], results=flags)
    case("logical_not", "LOGICAL_NOT", [fed(a)], results=flags)
    case("select", "SELECT", [fed(a), fed(x), fed(2 * x)])
    case("select_v2", "SELECT_V2", [fed(a), fed(x), stored(f32(3))], "SelectV2")
    case("cast", "CAST", [fed(3 * x)], "Cast", [("int32", None)], inDataType=0, outDataType=2)
    case("dequantize_f16", "DEQUANTIZE", [stored(f32(3, 7).astype(np.float16))], version=3)
    case("zeros_like", "ZEROS_LIKE", [fed(x)])


def windows():
    x = f32(1, 7, 6, 4)
    for padding in [0, 1]:
        case(f"conv_{padding}", "CONV_2D", [fed(x), stored(f32(5, 3, 2, 4)), stored(f32(5))], "Conv2D",
             padding=padding, strideW=2, strideH=1, fusedActivationFunction=1)
        case(f"depthwise_{padding}", "DEPTHWISE_CONV_2D", [fed(x), stored(f32(1, 3, 3, 8)), stored(f32(8))],
             "DepthwiseConv2D", padding=padding, strideW=1, strideH=2, depthMultiplier=2, fusedActivationFunction=3)
        for name in ["MAX_POOL_2D", "AVERAGE_POOL_2D"]:
            case(f"{name.lower()}_{padding}", name, [fed(x)], "Pool2D", padding=padding, strideW=2, strideH=2,
                 filterWidth=3, filterHeight=2)
        size = [1, 14, 12, 3] if padding == 0 else [1, 15, 13, 3]
        case(f"transpose_conv_{padding}", "TRANSPOSE_CONV", [ints(*size), stored(f32(3, 3, 3, 4)), fed(x)],
             "TransposeConv", padding=padding, strideW=2, strideH=2)
    case("conv_dilated", "CONV_2D", [fed(x), stored(f32(5, 3, 3, 4)), stored(f32(5))], "Conv2D", version=2, padding=0,
         strideW=1, strideH=1, dilationWFactor=2, dilationHFactor=3)
    case("conv_grouped", "CONV_2D", [fed(x), stored(f32(6, 1, 1, 2)), stored(f32(6))], "Conv2D", padding=1, strideW=1,
         strideH=1, version=6)
    case("transpose_conv_bias", "TRANSPOSE_CONV",
         [ints(1, 14, 12, 3), stored(f32(3, 2, 2, 4)), fed(x), stored(f32(3))], "TransposeConv", version=3, padding=1,
         strideW=2, strideH=2)
    for align, half in [(False, False), (True, False), (False, True)]:
        case(f"resize_bilinear_{align:d}{half:d}", "RESIZE_BILINEAR", [fed(x), ints(11, 5)], "ResizeBilinear",
             alignCorners=align, halfPixelCenters=half)
        case(f"resize_nearest_{align:d}{half:d}", "RESIZE_NEAREST_NEIGHBOR", [fed(x), ints(11, 5)],
             "ResizeNearestNeighbor", alignCorners=align, halfPixelCenters=half)


def linear():
    x = f32(4, 6)
    case("fully_connected", "FULLY_CONNECTED", [fed(x), stored(f32(5, 6)), stored(f32(5))], "FullyConnected",
         fusedActivationFunction=1)
    case("fully_connected_kept", "FULLY_CONNECTED", [fed(f32(2, 3, 6)), stored(f32(5, 6)), None], "FullyConnected",
         version=5, keepNumDims=True)
    case("fully_connected_flat", "FULLY_CONNECTED", [fed(f32(2, 3, 2)), stored(f32(5, 6)), None], "FullyConnected")
    case("batch_matmul", "BATCH_MATMUL", [fed(f32(2, 3, 4)), fed(f32(2, 5, 4))], "BatchMatMul", adjX=False, adjY=True)
    case("softmax", "SOFTMAX", [fed(x)], "Softmax", beta=0.7)
    case("log_softmax", "LOG_SOFTMAX", [fed(x)])
    case("l2_normalization", "L2_NORMALIZATION", [fed(x)], "L2Norm")


def reductions():
    x = f32(2, 5, 4, 3)
    for name in ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"]:
        case(name.lower(), name, [fed(x), ints(1, 2)], "Reducer", keepDims=False)
        case(f"{name.lower()}_kept", name, [fed(x), ints(-1)], "Reducer", keepDims=True)
    case("arg_max", "ARG_MAX", [fed(x), stored(np.int32(2))], "ArgMax", [("int64", None)], outputType=4)
    case("arg_min", "ARG_MIN", [fed(x), stored(np.int32(-1))], "ArgMin", [("int32", None)], outputType=2)
    case("cumsum", "CUMSUM", [fed(x), stored(np.int32(1))], "Cumsum", exclusive=True, reverse=True)


def shapes():
    x = f32(2, 6, 4, 3)
    case("reshape", "RESHAPE", [fed(x), ints(2, -1, 6)], "Reshape", newShape=[2, -1, 6])
    case("squeeze", "SQUEEZE", [fed(f32(1, 5, 1, 2))], "Squeeze", squeezeDims=[2])
    case("squeeze_all", "SQUEEZE", [fed(f32(1, 5, 1, 2))], "Squeeze", squeezeDims=[])
    case("expand_dims", "EXPAND_DIMS", [fed(x), stored(np.int32(-1))])
    case("transpose", "TRANSPOSE", [fed(x), ints(2, 0, 3, 1)])
    case("concatenation", "CONCATENATION", [fed(x), fed(f32(2, 6, 4, 2)), stored(f32(2, 6, 4, 1))], "Concatenation",
         axis=-1)
    case("pack", "PACK", [fed(x), fed(f32(2, 6, 4, 3))], "Pack", valuesCount=2, axis=1)
    case("unpack", "UNPACK", [fed(x)], "Unpack", [("float32", None)] * 4, num=4, axis=2)
    case("split", "SPLIT", [stored(np.int32(1)), fed(x)], "Split", [("float32", None)] * 3, numSplits=3)
    case("split_v", "SPLIT_V", [fed(x), ints(1, -1, 2), stored(np.int32(1))], "SplitV", [("float32", None)] * 3,
         numSplits=3)
    case("slice", "SLICE", [fed(x), ints(0, 1, 0, 2), ints(-1, 3, 2, 1)])
    case("strided_slice", "STRIDED_SLICE", [fed(x), ints(0, -1, 1, 0), ints(2, -5, 4, 2), ints(1, -2, 1, 1)],
         "StridedSlice", beginMask=1, endMask=4, shrinkAxisMask=0)
    case("strided_slice_shrunk", "STRIDED_SLICE", [fed(x), ints(0, 2, 1), ints(2, 3, 3), ints(1, 1, 1)],
         "StridedSlice", shrinkAxisMask=2)
    case("tile", "TILE", [fed(f32(2, 3)), ints(2, 3)])
    case("broadcast_to", "BROADCAST_TO", [fed(f32(3, 1)), ints(2, 3, 4)], version=2)
    case("gather", "GATHER", [fed(x), ints(3, 0, 3)], "Gather", axis=1)
    case("gather_nd", "GATHER_ND", [fed(x), stored(np.array([[1, 2], [0, 5]], np.int32))])
    case("pad", "PAD", [fed(x), stored(np.array([[0, 0], [1, 2], [0, 3], [1, 0]], np.int32))])
    case("padv2", "PADV2", [fed(f32(2, 3)), stored(np.array([[1, 0], [2, 1]], np.int32)), stored(np.float32(7))])
    case("mirror_pad", "MIRROR_PAD", [fed(x), stored(np.array([[0, 0], [2, 3], [1, 0], [0, 0]], np.int32))],
         "MirrorPad", mode=0)
    case("depth_to_space", "DEPTH_TO_SPACE", [fed(f32(2, 3, 2, 8))], "DepthToSpace", version=1, blockSize=2)
    case("space_to_depth", "SPACE_TO_DEPTH", [fed(x)], "SpaceToDepth", blockSize=2)
    case("shape", "SHAPE", [fed(x)], "Shape", [("int32", None)], outType=2)
    case("fill", "FILL", [ints(2, 3), fed(np.float32(0.25))])


def quantised():
    """Integer kernels. What is stored for biases is int32 at the product of the scales."""
    x_map, y_map = (0.05, 3, 0), (0.11, -7, 0)
    result = [("int8", y_map)]
    x = fed(i8(1, 7, 6, 4), x_map)

    def weights(shape, axis):
        scales = RANDOM.uniform(0.002, 0.01, size=shape[axis])
        array = RANDOM.integers(-127, 128, size=shape).astype(np.int8)
        bias = RANDOM.integers(-4000, 4000, size=shape[axis]).astype(np.int32)
        zeros = np.zeros(shape[axis], np.int64)
        return [stored(array, (scales, zeros, axis)), stored(bias, (scales * x_map[0], zeros, 0))]

    case("int8_conv", "CONV_2D", [x, *weights((5, 3, 2, 4), 0)], "Conv2D", result, version=3, padding=0, strideW=2,
         strideH=1, fusedActivationFunction=1)
    case("int8_depthwise", "DEPTHWISE_CONV_2D", [x, *weights((1, 3, 3, 8), 3)], "DepthwiseConv2D", result, version=3,
         padding=1, strideW=1, strideH=2, depthMultiplier=2, fusedActivationFunction=3)
    rows, columns = fed(i8(4, 6), x_map), stored(RANDOM.integers(-127, 128, size=(5, 6)).astype(np.int8), (0.004, 0, 0))
    bias = stored(RANDOM.integers(-4000, 4000, size=5).astype(np.int32), (0.004 * x_map[0], 0, 0))
    case("int8_fully_connected", "FULLY_CONNECTED", [rows, columns, bias], "FullyConnected", result, version=4)
    for name, options in [("ADD", "Add"), ("SUB", "Sub"), ("MUL", "Mul")]:
        case(f"int8_{name.lower()}", name, [x, fed(i8(1, 1, 1, 4), y_map)], options, result, version=2)
    case("int8_relu", "RELU", [x], None, result, version=2)
    case("int8_logistic", "LOGISTIC", [x], None, [("int8", (1 / 256, -128, 0))], version=2)
    case("int8_tanh", "TANH", [x], None, [("int8", (1 / 128, 0, 0))], version=2)
    case("int8_softmax", "SOFTMAX", [rows], "Softmax", [("int8", (1 / 256, -128, 0))], version=2, beta=1.0)
    case("int8_mean", "MEAN", [x, ints(1, 2)], "Reducer", result, version=2, keepDims=True)
    case("int8_quantize", "QUANTIZE", [fed(3 * f32(3, 7))], "Quantize", result)
    case("int8_requantize", "QUANTIZE", [x], "Quantize", result, version=2)
    case("int8_dequantize", "DEQUANTIZE", [x], "Dequantize", version=2)
    alike = [("int8", x_map)]
    for name in ["MAX_POOL_2D", "AVERAGE_POOL_2D"]:
        case(f"int8_{name.lower()}", name, [x], "Pool2D", alike, version=2, padding=0, strideW=2, strideH=2,
             filterWidth=3, filterHeight=2)
    case("int8_reshape", "RESHAPE", [x, ints(6, -1)], "Reshape", alike, newShape=[6, -1])
    case("int8_concatenation", "CONCATENATION", [x, fed(i8(1, 7, 6, 2), x_map)], "Concatenation", alike, version=2,
         axis=3)
    case("int8_pad", "PAD", [x, stored(np.array([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32))], None, alike, version=2)
    case("int8_resize_bilinear", "RESIZE_BILINEAR", [x, ints(11, 5)], "ResizeBilinear", alike, version=3,
         halfPixelCenters=True)
    case("int8_transpose", "TRANSPOSE", [x, ints(0, 2, 3, 1)], None, alike, version=2)
    case("uint8_conv", "CONV_2D",
         [fed(RANDOM.integers(0, 256, size=(1, 7, 6, 4)).astype(np.uint8), (0.05, 130, 0)),
          stored(RANDOM.integers(0, 256, size=(5, 3, 2, 4)).astype(np.uint8), (0.004, 121, 0)),
          stored(RANDOM.integers(-4000, 4000, size=5).astype(np.int32), (0.0002, 0, 0))],
         "Conv2D", [("uint8", (0.09, 120, 0))], padding=0, strideW=1, strideH=1)


def more():
    x = np.array([7, -7, 6, -6, 0, 5], np.int32)
    divisors = np.array([2, 2, -4, -4, 3, -5], np.int32)
    for name in ["FLOOR_DIV", "FLOOR_MOD"]:
        case(f"{name.lower()}_int", name, [fed(x), fed(divisors)], results=[("int32", None)])
        case(name.lower(), name, [fed((x * 0.75).astype(np.float32)), fed(divisors.astype(np.float32))], version=2)
    ends = [stored(np.int32(v)) for v in [9, -2, -3]]
    case("range", "RANGE", ends, results=[("int32", None)])
    case("range_f32", "RANGE", [stored(np.float32(v)) for v in [0.5, 3, 0.7]])
    y = f32(2, 4, 6, 3)
    case("rank", "RANK", [fed(y)], results=[("int32", None)])
    case("reverse_v2", "REVERSE_V2", [fed(y), ints(2)])
    case("one_hot", "ONE_HOT", [fed(np.array([[0, 4, 2], [1, -1, 3]], np.int32)), stored(np.int32(4)),
                                stored(np.float32(2)), stored(np.float32(-1))], "OneHot", axis=1)
    case("topk_v2", "TOPK_V2", [fed(y), stored(np.int32(2))], results=[("float32", None), ("int32", None)])
    case("scatter_nd", "SCATTER_ND", [stored(np.array([[1], [3], [1]], np.int32)), fed(f32(3, 2)), ints(5, 2)])
    truths = [("bool", None)]
    case("reduce_any", "REDUCE_ANY", [fed(y > 1), ints(1)], "Reducer", truths, keepDims=False)
    case("reduce_all", "REDUCE_ALL", [fed(y > -1), ints(-1)], "Reducer", truths, keepDims=True)
    edges = stored(np.array([[1, 1], [0, 0]], np.int32))
    case("space_to_batch_nd", "SPACE_TO_BATCH_ND", [fed(y), ints(3, 2), edges])
    case("batch_to_space_nd", "BATCH_TO_SPACE_ND", [fed(f32(12, 2, 3, 2)), ints(3, 2), edges])
    complexes = [("complex64", None)]
    for height, width in [(1, 16), (4, 8), (1, 2), (8, 32)]:
        for then in ["REAL", "IMAG", "COMPLEX_ABS"]:
            case(f"rfft2d_{height}x{width}_{then.lower()}", "RFFT2D", [fed(f32(2, height, width)), ints(height, width)],
                 results=complexes, then=then)


def main():
    arithmetic()
    windows()
    linear()
    reductions()
    shapes()
    quantised()
    more()
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES)
    sys.stdout.write(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
