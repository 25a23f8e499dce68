#!/usr/bin/env python3
"""Quantises a float ONNX model to 8 bits (ONNX Runtime's static quantisation) and writes it to OUT.onnx.

    pip install onnx onnxruntime
    python quantized_models.py MODEL.onnx OUT.onnx [--operators] [--per-tensor] [NAME=1,2,3]...

Activations are u8, weights i8 with one scale for each output (--per-tensor: one for all). The form is QDQ, with
--operators ONNX's own quantised operators (QLinearConv and the like). Calibrated on fixed random inputs, since what is
compared is arithmetic, not accuracy. `onnxruntime_outputs.py` makes an oracle of the result.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

SAMPLES = 8


class Samples(CalibrationDataReader):
    """Random inputs from a fixed seed: normal floats, integers that are 0 or 1."""

    def __init__(self, path, shapes):
        random = np.random.default_rng(11)
        inputs = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()
        shape = lambda v: shapes.get(v.name, [d if isinstance(d, int) and d > 0 else 1 for d in v.shape])
        integers = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}
        value = lambda v: (
            random.integers(0, 2, shape(v)).astype(integers[v.type])
            if v.type in integers
            else random.normal(size=shape(v)).astype(np.float32)
        )
        self.left = iter([{v.name: value(v) for v in inputs} for _ in range(SAMPLES)])

    def get_next(self):
        return next(self.left, None)


def main(path, out, *rest):
    shapes = {name: [int(d) for d in dims.split(",")] for name, dims in (a.split("=") for a in rest if "=" in a)}
    with tempfile.TemporaryDirectory() as folder:
        modern, prepared = str(Path(folder) / "modern.onnx"), str(Path(folder) / "prepared.onnx")
        # Scales along an axis came with operator set 13.
        model = onnx.load(path)
        if model.opset_import[0].version < 13:
            model = onnx.version_converter.convert_version(model, 13)
        onnx.save(model, modern)
        quant_pre_process(modern, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            out,
            Samples(prepared, shapes),
            quant_format=QuantFormat.QOperator if "--operators" in rest else QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel="--per-tensor" not in rest,
        )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
