#!/usr/bin/env python3
"""Writes tests/fixtures/operators.json: small models of one operator each, inputs, and ONNX Runtime's outputs.

    pip install onnx onnxruntime
    python operator_fixtures.py > ../fixtures/operators.json

One JSON object a case: name, model (hex), inputs and outputs (dtype, shape, little-endian hex). The seed is fixed.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

RANDOM = np.random.default_rng(11)
KINDS = {np.dtype(np.float32): ("f32", TensorProto.FLOAT), np.dtype(np.int32): ("i32", TensorProto.INT32),
         np.dtype(np.int64): ("i64", TensorProto.INT64), np.dtype(np.bool_): ("bool", TensorProto.BOOL),
         np.dtype(np.float64): ("f64", TensorProto.DOUBLE), np.dtype(np.uint8): ("u8", TensorProto.UINT8),
         np.dtype(np.int8): ("i8", TensorProto.INT8)}
CASES = []


def f32(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def positive(*shape):
    return (np.abs(RANDOM.normal(size=shape)) + 0.1).astype(np.float32)


def packed(array):
    array = np.asarray(array)
    return {"dtype": KINDS[array.dtype][0], "shape": list(array.shape), "data": array.astype(array.dtype.newbyteorder("<")).tobytes().hex()}


def case(name, operator, inputs, constants=(), opset=17, outputs=1, domain="", exact=False, **attributes):
    """`inputs` are fed at run time, `constants` stored in the file; both are operands in this order (None: left out)."""
    names, initializers, feeds, values = [], [], {}, []
    if operator == "QLinearSoftmax":
        attributes["opset"] = opset
    for i, array in enumerate(inputs):
        names.append(f"x{i}")
        feeds[f"x{i}"] = array
        values.append(helper.make_tensor_value_info(f"x{i}", KINDS[array.dtype][1], array.shape))
    for i, array in enumerate(constants):
        names.append("" if array is None else f"c{i}")
        if array is not None:
            initializers.append(numpy_helper.from_array(np.asarray(array), f"c{i}"))
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(operator, names, results, name=name, domain=domain, **attributes)
    graph = helper.make_graph([node], name, values, [onnx.ValueInfoProto(name=r) for r in results], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else []), producer_name="")
    model.ir_version = 8
    model = onnx.shape_inference.infer_shapes(model)
    # ONNX Runtime sums transforms in f32, a hundred times less exactly than onnx's own definition by NumPy.
    session = ReferenceEvaluator(model) if exact else ort.InferenceSession(model.SerializeToString())
    got = session.run(results, feeds)
    CASES.append({"name": name, "model": model.SerializeToString().hex(), "inputs": [packed(a) for a in inputs], "outputs": [packed(a) for a in got]})


def ints(*values):
    return np.array(values, np.int64)


def elementwise():
    for op in ["Relu", "Sigmoid", "Tanh", "Exp", "Erf", "Abs", "Neg", "Floor", "Ceil", "Round", "Sign", "Softplus", "Softsign",
               "HardSigmoid", "HardSwish", "LeakyRelu", "Elu", "Selu", "Sin", "Cos", "Atan"]:
        case(op.lower(), op, [3 * f32(3, 41)])
    for op in ["Sqrt", "Log", "Reciprocal"]:
        case(op.lower(), op, [positive(2, 19)])
    for op in ["Add", "Sub", "Mul", "Div", "Max", "Min", "Less", "Greater", "Equal"]:
        case(op.lower(), op, [f32(2, 3, 5), f32(3, 1)])
    case("add_i64", "Add", [ints(1, 2, 3), ints(10, -20, 2**40)])
    case("pow_fraction", "Pow", [positive(2, 5)], [np.array(0.7, np.float32)])
    case("pow_square", "Pow", [f32(2, 5)], [np.array(2, np.float32)])
    case("clip", "Clip", [3 * f32(4, 9)], [np.array(-1, np.float32), np.array(0.5, np.float32)])
    case("clip_6", "Clip", [3 * f32(4, 9)], opset=10, min=-0.5, max=2.0)
    case("prelu", "PRelu", [f32(1, 4, 3, 3)], [f32(4, 1, 1)])
    case("where", "Where", [np.array([[True], [False]]), f32(2, 4), f32(4)])
    case("cast_f32_i32", "Cast", [20 * f32(12)], to=TensorProto.INT32)
    case("cast_bool_f32", "Cast", [np.array([True, False, True])], to=TensorProto.FLOAT)
    case("gelu", "Gelu", [2 * f32(3, 17)], opset=20)
    case("gelu_tanh", "Gelu", [2 * f32(3, 17)], opset=20, approximate="tanh")


def linear():
    case("matmul", "MatMul", [f32(5, 37)], [f32(37, 23)])
    case("matmul_batched", "MatMul", [f32(2, 3, 4, 6), f32(3, 6, 5)])
    case("matmul_vector", "MatMul", [f32(6), f32(6, 5)])
    case("gemm", "Gemm", [f32(4, 6)], [f32(5, 6), f32(5)], transB=1, alpha=0.5, beta=2.0)
    case("conv", "Conv", [f32(1, 3, 9, 11)], [f32(8, 3, 3, 3), f32(8)], pads=[1, 1, 1, 1])
    case("conv_strided", "Conv", [f32(2, 4, 10, 9)], [f32(6, 4, 3, 2)], strides=[2, 3], pads=[1, 0, 2, 1], dilations=[2, 1])
    case("conv_grouped", "Conv", [f32(1, 6, 7, 7)], [f32(9, 2, 3, 3)], group=3)
    case("conv_depthwise", "Conv", [f32(1, 5, 8, 20)], [f32(5, 1, 3, 3)], group=5, pads=[1, 1, 1, 1])
    case("conv_same_upper", "Conv", [f32(1, 2, 7, 8)], [f32(3, 2, 3, 4)], auto_pad="SAME_UPPER", strides=[2, 2])
    case("conv_1d", "Conv", [f32(1, 4, 40)], [f32(7, 4, 5)], pads=[2, 2])
    case("conv_3d", "Conv", [f32(1, 2, 5, 6, 7)], [f32(3, 2, 2, 3, 2)])
    case("conv_transpose", "ConvTranspose", [f32(1, 3, 5, 4)], [f32(3, 4, 3, 3)], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    case("conv_transpose_blocks", "ConvTranspose", [f32(2, 3, 4, 5)], [f32(3, 4, 2, 3), f32(4)], strides=[2, 3])
    case("max_pool", "MaxPool", [f32(1, 3, 9, 9)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    case("max_pool_ceil", "MaxPool", [f32(1, 2, 7, 8)], kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1)
    case("average_pool", "AveragePool", [f32(1, 3, 9, 9)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    case("average_pool_padding", "AveragePool", [f32(1, 3, 9, 9)], kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1)
    case("global_average_pool", "GlobalAveragePool", [f32(2, 3, 5, 7)])
    case("global_max_pool", "GlobalMaxPool", [f32(2, 3, 5, 7)])
    case("einsum", "Einsum", [f32(2, 3, 4), f32(2, 5, 4)], equation="bij,bkj->bki")


def normalization():
    case("softmax", "Softmax", [3 * f32(2, 3, 37)])
    case("softmax_axis", "Softmax", [3 * f32(2, 7, 5)], axis=1)
    case("softmax_11", "Softmax", [3 * f32(2, 3, 5)], opset=11, axis=1)
    case("log_softmax", "LogSoftmax", [3 * f32(4, 19)])
    case("batch_normalization", "BatchNormalization", [f32(2, 4, 3, 3)], [f32(4), f32(4), f32(4), positive(4)])
    case("layer_normalization", "LayerNormalization", [f32(2, 5, 33)], [f32(33), f32(33)])
    case("layer_normalization_axis", "LayerNormalization", [f32(2, 3, 4)], [f32(3, 4)], axis=1)
    case("instance_normalization", "InstanceNormalization", [f32(2, 3, 5, 5)], [f32(3), f32(3)])
    case("lrn", "LRN", [f32(1, 7, 3, 3)], size=3)


def reductions():
    for op in ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"]:
        case(op.lower(), op, [f32(3, 4, 21)], axes=[1, 2])
        case(op.lower() + "_apart", op, [f32(3, 4, 5)], axes=[0, 2], keepdims=0)
    case("reducesum_rows", "ReduceSum", [f32(5, 67)], [ints(1)])
    case("reducesum_columns", "ReduceSum", [f32(67, 5)], [ints(0)], keepdims=0)
    case("argmax", "ArgMax", [f32(4, 9)], axis=1)
    case("argmin", "ArgMin", [f32(4, 9)], axis=0, keepdims=0)
    case("cumsum", "CumSum", [f32(3, 8)], [ints(1)[0]], reverse=1)
    case("topk", "TopK", [f32(3, 10)], [ints(4)], outputs=2)


def movement():
    case("reshape", "Reshape", [f32(2, 3, 4)], [ints(0, -1)])
    case("transpose", "Transpose", [f32(2, 3, 4, 5)], perm=[2, 0, 3, 1])
    case("slice", "Slice", [f32(5, 6, 7)], [ints(4, -1), ints(0, -9), ints(0, 2), ints(-2, -3)])
    case("concat", "Concat", [f32(2, 3), f32(2, 4)], axis=1)
    case("split", "Split", [f32(2, 7)], [ints(3, 4)], axis=1, outputs=2)
    case("expand", "Expand", [f32(3, 1)], [ints(2, 1, 4)])
    case("tile", "Tile", [f32(2, 3)], [ints(2, 3)])
    case("pad", "Pad", [f32(2, 3)], [ints(1, 2, 0, 1), np.array(9, np.float32)])
    case("pad_reflect", "Pad", [f32(4, 5)], [ints(1, 2, 2, 1)], mode="reflect")
    case("gather", "Gather", [f32(4, 5), ints(3, -1, 0)], axis=1)
    case("gather_elements", "GatherElements", [f32(3, 3), ints(0, 1, 2, 2).reshape(2, 2)], axis=0)
    case("gather_nd", "GatherND", [f32(3, 4, 2), ints(0, 1, 2, 3).reshape(2, 2)])
    case("scatter_nd", "ScatterND", [f32(5, 2), ints(4, 1).reshape(2, 1), f32(2, 2)])
    case("one_hot", "OneHot", [ints(1, -1, 5)], [ints(4), np.array([0, 3], np.float32)])
    case("depth_to_space", "DepthToSpace", [f32(1, 8, 2, 3)], blocksize=2, mode="CRD")
    case("resize_nearest", "Resize", [f32(1, 2, 3, 4)], [None, np.array([1, 1, 2, 2], np.float32)], mode="nearest",
         coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    case("resize_linear", "Resize", [f32(1, 2, 3, 4)], [None, None, ints(1, 2, 7, 5)], mode="linear")
    case("resize_cubic", "Resize", [f32(1, 1, 6, 5)], [None, np.array([1, 1, 1.5, 2], np.float32)], mode="cubic")
    case("trilu", "Trilu", [f32(4, 5)], upper=0)


def recurrent():
    case("lstm", "LSTM", [f32(5, 2, 3)], [f32(1, 16, 3), f32(1, 16, 4), f32(1, 32)], outputs=3, hidden_size=4)
    case("gru", "GRU", [f32(4, 2, 3)], [f32(2, 12, 3), f32(2, 12, 4), f32(2, 24)], outputs=2, hidden_size=4, direction="bidirectional", linear_before_reset=1)
    case("rnn", "RNN", [f32(4, 1, 3)], [f32(1, 4, 3), f32(1, 4, 4)], outputs=2, hidden_size=4, direction="reverse")


def u8(*shape):
    return RANDOM.integers(0, 256, size=shape).astype(np.uint8)


def i8(*shape):
    return RANDOM.integers(-128, 128, size=shape).astype(np.int8)


def scale(*values):
    return np.array(values if len(values) > 1 else values[0], np.float32)


def quantised():
    zero = lambda value, kind=np.uint8: np.array(value, kind)
    map_x, map_w, map_y = [scale(0.05), zero(130)], [scale(0.004), zero(121)], [scale(0.09), zero(120)]
    per_output = [scale(0.003, 0.004, 0.002, 0.005, 0.006), np.zeros(5, np.int8)]
    bias = RANDOM.integers(-4000, 4000, size=5).astype(np.int32)
    case("conv_integer", "ConvInteger", [u8(1, 3, 6, 5)], [u8(4, 3, 3, 2), zero(130), zero(121)], pads=[1, 0, 1, 2])
    case("matmul_integer", "MatMulInteger", [u8(3, 7), i8(7, 4)], [zero(130), zero(3, np.int8)])
    case("qlinear_conv", "QLinearConv", [u8(1, 3, 6, 5)], [*map_x, i8(5, 3, 3, 2), *per_output, *map_y, bias],
         strides=[2, 1], pads=[1, 1, 0, 1])
    case("qlinear_conv_deep", "QLinearConv", [u8(1, 40, 4, 4)], [*map_x, u8(5, 40, 3, 3), *map_w, scale(0.9), zero(120)])
    case("qlinear_matmul", "QLinearMatMul", [u8(3, 7)], [*map_x, u8(7, 4), *map_w, *map_y])
    ort_only = {"domain": "com.microsoft"}
    case("qlinear_add", "QLinearAdd", [u8(2, 3, 4)], [*map_x, u8(3, 1), *map_w, *map_y], **ort_only)
    case("qlinear_mul", "QLinearMul", [u8(2, 3, 4)], [*map_x, u8(4), *map_w, *map_y], **ort_only)
    case("qlinear_sigmoid", "QLinearSigmoid", [u8(3, 50)], [*map_x, scale(1 / 256), zero(0)], **ort_only)
    case("qlinear_leaky_relu", "QLinearLeakyRelu", [u8(3, 50)], [*map_x, *map_y], alpha=0.2, **ort_only)
    case("qlinear_softmax", "QLinearSoftmax", [u8(3, 9)], [*map_x, scale(1 / 256), zero(0)], axis=-1, opset=13,
         **ort_only)
    case("qlinear_average", "QLinearGlobalAveragePool", [u8(1, 3, 4, 5)], [*map_x, *map_y], **ort_only)
    case("qgemm", "QGemm", [u8(3, 7)], [*map_x, u8(5, 7), *map_w, bias, *map_y], transB=1, **ort_only)
    case("qgemm_real", "QGemm", [u8(3, 7)], [*map_x, u8(7, 5), *map_w, bias], alpha=0.5, **ort_only)


def more():
    for size in [12, 7, 60]:
        case(f"dft_{size}", "DFT", [f32(2, size, 3, 1)], opset=17, exact=True, axis=1)
        case(f"dft_complex_{size}", "DFT", [f32(2, size, 2)], opset=17, exact=True, axis=1)
        case(f"dft_inverse_{size}", "DFT", [f32(2, size, 2)], opset=17, exact=True, axis=1, inverse=1)
    case("dft_onesided", "DFT", [f32(2, 30, 1)], [np.array(32, np.int64)], opset=17, exact=True, axis=1, onesided=1)
    case("dft_cut", "DFT", [f32(1, 30, 1)], [np.array(20, np.int64)], opset=17, exact=True, axis=1)
    case("stft", "STFT", [f32(1, 100, 1)], [np.array(8, np.int64), f32(24)], opset=17, exact=True)
    case("stft_length", "STFT", [f32(2, 64, 1)], [np.array(16, np.int64), None, np.array(16, np.int64)], opset=17, exact=True, onesided=0)
    for name in ["HannWindow", "HammingWindow", "BlackmanWindow"]:
        case(name.lower(), name, [], [np.array(9, np.int64)], opset=17)
        case(f"{name.lower()}_symmetric", name, [], [np.array(10, np.int64)], opset=17, periodic=0)
    for name, parameters in [("HardSigmoid", [0.3, 0.4]), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.75])]:
        case(f"fused_conv_{name.lower()}", "FusedConv", [f32(1, 2, 5, 5)], [f32(3, 2, 3, 3), f32(3)], domain="com.microsoft",
             activation=name, activation_params=parameters)
    case("fused_conv_sum", "FusedConv", [f32(1, 2, 5, 5)], [f32(3, 2, 3, 3), f32(3), f32(1, 3, 3, 3)], domain="com.microsoft",
         activation="Relu")
    for form, scales in [("tensor", ()), ("columns", (16,))]:
        def matrix(rows):
            scale = RANDOM.uniform(0.01, 0.02, size=(2, *scales)).astype(np.float32)
            return i8(2, rows, 16), scale, np.zeros((2, *scales), np.int8)
        (w, w_scale, w_zero), (r, r_scale, r_zero) = matrix(3), matrix(4)
        case(f"dynamic_quantize_lstm_{form}", "DynamicQuantizeLSTM", [f32(5, 1, 3)],
             [w, r, f32(2, 32), None, None, None, None, w_scale, w_zero, r_scale, r_zero], outputs=3,
             domain="com.microsoft", hidden_size=4, direction="bidirectional")


if __name__ == "__main__":
    for family in [elementwise, linear, normalization, reductions, movement, recurrent, quantised, more]:
        family()
    json.dump(CASES, sys.stdout, indent=0, separators=(",", ":"))
    print()
