#!/usr/bin/env python3
"""CPU time of one run of ONNX models on one thread: ours, ONNX Runtime's and tract's, by turns, so that all meet the same machine.

    cargo build --release -p lattice-import --example bench_model
    pip install onnxruntime tract
    python bench_models.py target/release/examples/bench_model RUNS MODEL.onnx[+OTHER.onnx]...[:NAME=1,2,3]... ...

Files joined by + are forms of one network, such as a float model and what `quantized_models.py` makes of it: they take turns too. With
`avx2` before the models ours runs once more for each file, by the kernels for AVX2. Prints the medians, the quartiles and n for
each model, and the medians' ratios to ours on the first file. A runtime that refuses a model is left out.
"""

import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
import onnxruntime as ort

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(uint8)": np.uint8}
NAMES = {np.float32: "f32", np.float64: "f64", np.int32: "i32", np.int64: "i64", np.uint8: "u8"}


# A turn takes at least so long, so that neither the pipe nor the clock counts.
TURN_MS = 2


def repeated(measure):
    """Milliseconds of one run, from `measure(count)`, those of so many."""
    count = max(1, int(TURN_MS / max(min(measure(1) for _ in range(3)), 1e-4)))
    return lambda: measure(count) / count


def timed(function):
    def measure(count):
        start = time.thread_time_ns()
        for _ in range(count):
            function()
        return (time.thread_time_ns() - start) / 1e6

    return repeated(measure)


def onnxruntime(path, shapes):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {}
    for value in session.get_inputs():
        shape = shapes.get(value.name, [d if isinstance(d, int) else 1 for d in value.shape])
        small = (np.arange(int(np.prod(shape))) * 7919 + 13) % 97
        kind = TYPES[value.type]
        small = small / 97 - 0.5 if kind in (np.float32, np.float64) else small % 2 if kind is np.int64 else small
        inputs[value.name] = small.astype(kind).reshape(shape)
    return timed(lambda: session.run(None, inputs)), inputs


def tract(path, inputs):
    import tract as runtime

    model = runtime.onnx().load(path)
    arrays = []
    for i in range(model.input_count()):
        array = inputs[model.input_name(i)]
        model.set_input_fact(i, ",".join(map(str, [*array.shape, NAMES[array.dtype.type]])))
        arrays.append(array)
    model.analyse()
    runnable = model.into_model().into_runnable()
    runnable.run(arrays)
    return timed(lambda: runnable.run(arrays))


def ours(binary, path, shapes, *isa):
    arguments = [f"{name}={','.join(map(str, shape))}" for name, shape in shapes.items()]
    child = subprocess.Popen([binary, path, "serve", *isa, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line == "ready\n":
            break
        if line.split()[0] in ("import", "decode", "load"):
            print("   ", line.rstrip()[:60])

    # The CPU-time clock of another process, as clock_getcpuclockid(3) names it.
    clock = ~child.pid << 3 | 2

    def measure(count):
        before = time.clock_gettime_ns(clock)
        child.stdin.write(f"{count}\n")
        child.stdin.flush()
        child.stdout.readline()
        return (time.clock_gettime_ns(clock) - before) / 1e6

    return repeated(measure), child


def main(binary, runs, *models):
    isas = [(), ("avx2",)] if models[0] == "avx2" else [()]
    for spec in models[len(isas) - 1 :]:
        files, *dims = spec.split(":")
        shapes = {name: [int(d) for d in dims.split(",")] for name, dims in (d.split("=") for d in dims)}
        runners, children, first = {}, [], None
        for path in files.split("+"):
            file = pathlib.Path(path)
            print(file.parent.name, file.name, shapes)
            for isa in isas:
                name = " ".join(["ours", *isa, file.stem])
                runners[name], child = ours(binary, path, shapes, *isa)
                children.append(child)
                first = first or name
            runners[f"onnxruntime {ort.__version__} {file.stem}"], inputs = onnxruntime(path, shapes)
            try:
                runners[f"tract {file.stem}"] = tract(path, inputs)
            except Exception as refusal:
                print("    tract refuses it:", str(refusal).splitlines()[0])
        times = {name: [] for name in runners}
        for turn in range(int(runs) + 3):
            for name, run in runners.items():
                spent = run()
                if turn >= 3:
                    times[name].append(spent)
        for child in children:
            child.stdin.close()
            child.wait()
        own = statistics.median(times[first])
        for name, spent in times.items():
            low, median, high = statistics.quantiles(spent, n=4)
            print(f"    {name:<32} {median:9.4f} ms of CPU (quartiles {low:.4f} to {high:.4f}, n = {len(spent)}), {median / own:.2f} x ours")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
