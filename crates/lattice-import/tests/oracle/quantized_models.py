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
    """Normal random inputs from a fixed seed."""

    def __init__(self, path, shapes):
        random = np.random.default_rng(11)
        inputs = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()
        shape = lambda v: shapes.get(v.name, [d if isinstance(d, int) and d > 0 else 1 for d in v.shape])
        self.left = iter([{v.name: random.normal(size=shape(v)).astype(np.float32) for v in inputs} for _ in range(SAMPLES)])

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
