#!/usr/bin/env python3
"""Median time of one run of an ONNX model by ONNX Runtime on one thread, to read beside examples/bench_model.rs.

    pip install onnxruntime
    python bench_onnxruntime.py MODEL.onnx [RUNS] [NAME=1,2,3]...
"""

import sys
import time

import numpy as np
import onnxruntime as ort

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(uint8)": np.uint8}


def main(path, *rest):
    runs, shapes = 50, {}
    for argument in rest:
        if "=" in argument:
            name, dims = argument.split("=")
            shapes[name] = [int(d) for d in dims.split(",")]
        else:
            runs = int(argument)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {}
    for value in session.get_inputs():
        shape = shapes.get(value.name, [d if isinstance(d, int) else 1 for d in value.shape])
        small = (np.arange(int(np.prod(shape))) * 7919 + 13) % 97
        kind = TYPES[value.type]
        inputs[value.name] = (small / 97 - 0.5 if kind in (np.float32, np.float64) else small).astype(kind).reshape(shape)
    times = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        session.run(None, inputs)
        times.append((time.perf_counter() - start) * 1e3)
    times = sorted(times[3:])
    print(f"onnxruntime {ort.__version__}: median {times[len(times) // 2]:.3f} ms of {len(times)} (from {times[0]:.3f} to {times[-1]:.3f})")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
