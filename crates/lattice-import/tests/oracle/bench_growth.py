#!/usr/bin/env python3
"""How the CPU time of one run on one thread grows with the batch, ours and ONNX Runtime's by turns.

    python bench_growth.py target/release/examples/bench_model RUNS MODEL.onnx:NAME=1,2,3[:NAME=...]...|dense=WIDTH ...

Each model is read once for every batch of 1, 2, 4, 8 and 16, the first dimension of the inputs that are named. In place of a model
`dense=WIDTH` is a network of four square matrices of that width with a Relu behind each: so it tells how time grows with the size of
a model too. Prints the megabytes of the file, how long it takes to be read (frozen graph decoded, weights packed), and the median times
of a run and of an item. See `bench_models.py`.
"""

import contextlib
import io
import pathlib
import re
import statistics
import sys
import tempfile

import bench_models
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

BATCHES = (1, 2, 4, 8, 16)


def dense(width, folder):
    """A network of four layers; gives its specification."""
    weights = np.random.default_rng(1).standard_normal((4, width, width), np.float32) / width**0.5
    layers, names = [], [f"x{i}" for i in range(5)]
    for i in range(4):
        layers.append(helper.make_node("MatMul", [names[i], f"w{i}"], [f"s{i}"]))
        layers.append(helper.make_node("Relu", [f"s{i}"], [names[i + 1]]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name in (names[0], names[-1])]
    initializers = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    graph = helper.make_graph(layers, "dense", ends[:1], ends[1:], initializers)
    path = f"{folder}/dense {width}.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return f"{path}:x0=1,{width}"


def measure(binary, runs, spec):
    path, *dims = spec.split(":")
    path = pathlib.Path(path)
    for batch in BATCHES:
        shapes = {name: [batch, *map(int, dims.split(",")[1:])] for name, dims in (d.split("=") for d in dims)}
        with contextlib.redirect_stdout(io.StringIO()) as loading:
            own, child = bench_models.ours(binary, str(path), shapes)
        load = sum(float(ms) for ms in re.findall(r"(?:decode|load) ([\d.]+) ms", loading.getvalue()))
        other, _ = bench_models.onnxruntime(str(path), shapes)
        times = [(own(), other()) for _ in range(runs)]
        child.stdin.close()
        child.wait()
        a, b = (statistics.median(t) for t in zip(*times))
        size = path.stat().st_size / 1e6
        print(f"{path.stem[:16]:<16} {size:>7.1f} {batch:>5} {load:>9.1f} {a:>9.3f} {a / batch:>9.3f} {b:>12.3f} {b / batch:>9.3f}", flush=True)


def main(binary, runs, *models):
    print(f"{'model':<16} {'MB':>7} {'batch':>5} {'cold load':>9} {'ours':>9} {'an item':>9} {'onnxruntime':>12} {'an item':>9}   (ms, medians of {runs})")
    with tempfile.TemporaryDirectory() as folder:
        for spec in models:
            measure(binary, int(runs), dense(int(spec[6:]), folder) if spec.startswith("dense=") else spec)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
