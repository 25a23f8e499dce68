#!/usr/bin/env python3
"""The `lattice` command line as scripts use it: JSON on stdout, exit codes, errors that say what to do.

    cli_smoke.py

Starts a node of its own. Models are compared with ONNX Runtime; broken ones must be named, not run.
"""

import json
import signal
import tempfile
import time
from pathlib import Path

import magika
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from checks import LATTICE, Checks, DevNode, expect, json_of, rpc, run

FIRST = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"  # dev account 0, which signs unless a key is given
SECOND = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
SECOND_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"  # of dev account 1
RECEIVER = "0x00000000000000000000000000000000c0ffee01"
TOLERANCE = 1e-5
DEMO_SECONDS_MAX = 60


def refused(command, *words):
    """A command that must fail with exit code 1 or 2, say why on stderr, and not panic."""
    done = run(command)
    said = done.stderr + done.stdout
    expect(done.returncode in (1, 2), f"exit {done.returncode}: {said[-400:]}")
    expect("panicked" not in said, said[-400:])
    expect(done.stderr.strip(), "stderr says nothing")
    missing = [word for word in words if word.lower() not in said.lower()]
    expect(not missing, f"the error does not mention {missing}: {said[-400:]}")
    return done


def peft_adapter(folder):
    """An adapter of rank 2 for the first layer of `dense_model`, as PEFT saves it (safetensors: length, header, data)."""
    folder.mkdir()
    factors = {"lora_A": np.full((2, 6), 0.25, np.float32), "lora_B": np.full((8, 2), -0.5, np.float32)}
    header, data = {}, b""
    for name, factor in factors.items():
        offsets = [len(data), len(data) + factor.nbytes]
        header[f"base_model.model.w1.{name}.weight"] = {"dtype": "F32", "shape": factor.shape, "data_offsets": offsets}
        data += factor.tobytes()
    header = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "bias": "none"}))
    return folder


# --- models -----------------------------------------------------------------------------------------------------


def dense_model(path, columns=4):
    """softmax(relu(x W1) W2) with a dynamic first dimension, and the inputs for it."""
    rng = np.random.default_rng(11)
    weights = [rng.standard_normal(shape, dtype=np.float32) for shape in ((6, 8), (8, columns))]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Softmax", ["c"], ["y"], axis=-1),
    ]
    save(path, nodes, [("x", TensorProto.FLOAT, ["n", 6])], [("y", TensorProto.FLOAT, ["n", columns])],
         {"w1": weights[0], "w2": weights[1]})
    return rng.standard_normal((1, 6), dtype=np.float32)


def save(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def oracle(path, features):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: features})[0]


def agrees(answer, expected):
    output = answer["outputs"][0]
    values = [float(value) for value in np.ravel(np.array(output["data"], dtype=object))]
    expect(list(output["shape"]) == list(expected.shape), f"shape {output['shape']}, expected {expected.shape}")
    difference = float(np.abs(np.array(values).reshape(expected.shape) - expected).max())
    expect(difference <= TOLERANCE, f"differs from ONNX Runtime by {difference:.2e}")


def local_models(checks, folder):
    """`run --local` and `model inspect`, without any node."""
    small = folder / "small.onnx"
    features = dense_model(small)
    np.save(folder / "x.npy", features)
    (folder / "x.json").write_text(json.dumps(features.tolist()))
    expected = oracle(small, features)
    local = [LATTICE, "run", "--local", small, "--json", "--input"]

    def is_local():
        answer = json_of([*local, folder / "x.npy"])
        expect(answer["tx_hash"] is None, "a local run has no transaction")
        agrees(answer, expected)

    checks.check("run --local agrees with ONNX Runtime", is_local)
    checks.check("run --local takes name=x.npy", lambda: agrees(json_of([*local, f"x={folder / 'x.npy'}"]), expected))
    checks.check("run --local takes JSON", lambda: agrees(json_of([*local, folder / "x.json"]), expected))

    def takes_its_shape():
        rows = np.repeat(features, 3, axis=0)
        np.save(folder / "rows.npy", rows)
        agrees(json_of([*local, folder / "rows.npy"]), oracle(small, rows))

    checks.check("run --local takes dynamic shapes from its inputs", takes_its_shape)

    def magika_model():
        path = next(Path(magika.__file__).parent.glob("models/*/model.onnx"))
        text = np.frombuffer(Path(__file__).read_bytes()[:1024], dtype=np.uint8).astype(np.int32)
        both = np.concatenate([text, text])[None, :]
        np.save(folder / "magika.npy", both)
        agrees(json_of([LATTICE, "run", "--local", path, "--json", "--input", folder / "magika.npy"]), oracle(path, both))

    checks.check("run --local of magika agrees with ONNX Runtime", magika_model)

    def inspected():
        facts = json_of([LATTICE, "model", "inspect", small, "--json"])
        for field in ("inputs", "outputs", "operators", "cost", "model_id"):
            expect(field in facts, f"no {field} in {sorted(facts)}")
        expect("MatMul" in json.dumps(facts["operators"]), f"operators {facts['operators']}")
        return facts["model_id"]

    checks.check("model inspect tells inputs, outputs, operators, cost and id", inspected)
    bad_models(checks, folder, small)
    return small, features, expected


def bad_models(checks, folder, small):
    content = small.read_bytes()
    (folder / "cut.onnx").write_bytes(content[: len(content) // 2])
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "noise.onnx").write_bytes(bytes(np.random.default_rng(3).integers(0, 256, 4096, dtype=np.uint8)))
    shape = ("x", TensorProto.FLOAT, [1, 4])
    save(folder / "odd.onnx", [helper.make_node("RandomNormalLike", ["x"], ["y"], name="dice")],
         [shape], [("y", TensorProto.FLOAT, [1, 4])], {})
    save(folder / "misfit.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])],
         [shape], [("y", TensorProto.FLOAT, [1, 2])], {"w": np.zeros((5, 2), dtype=np.float32)})
    inspect = lambda name: [LATTICE, "model", "inspect", folder / name, "--json"]
    checks.check("a truncated model is refused", lambda: refused(inspect("cut.onnx")))
    checks.check("an empty file is refused", lambda: refused(inspect("empty.onnx")))
    checks.check("noise is refused", lambda: refused(inspect("noise.onnx")))
    checks.check("a file that is not there is refused by name", lambda: refused(inspect("none.onnx"), "none.onnx"))
    checks.check("an unsupported operator is named", lambda: refused(inspect("odd.onnx"), "RandomNormalLike"))
    checks.check("shapes that do not fit are refused", lambda: refused(inspect("misfit.onnx"), "MatMul"))
    np.save(folder / "wide.npy", np.zeros((1, 7), dtype=np.float32))
    np.save(folder / "ints.npy", np.zeros((1, 6), dtype=np.int64))
    local = [LATTICE, "run", "--local", small, "--json"]
    checks.check("an input of the wrong shape is refused", lambda: refused([*local, "--input", folder / "wide.npy"], "7"))
    checks.check("an input of the wrong dtype is refused", lambda: refused([*local, "--input", folder / "ints.npy"], "f32"))
    checks.check("a missing input is refused by name", lambda: refused(local, "input"))
    checks.check("an input that the model lacks is refused", lambda: refused([*local, "--input", f"nosuch={folder / 'wide.npy'}"], "nosuch"))


# --- chain ------------------------------------------------------------------------------------------------------


def on_chain(checks, url, folder, small, features, expected):
    node = ["--rpc-url", url]
    lattice = lambda *arguments: json_of([LATTICE, *arguments, "--json", *node])

    def transfer():
        sent = lattice("send", RECEIVER, "--value", "1500wei")
        receipt = rpc(url, "eth_getTransactionReceipt", sent["tx_hash"])
        expect(receipt["status"] == "0x1" and receipt["from"] == FIRST.lower(), f"{receipt}")
        expect(int(rpc(url, "eth_getBalance", RECEIVER, "latest"), 16) == 1500, "the receiver's balance")
        shown = lattice("tx", sent["tx_hash"])
        expect(sent["tx_hash"] in json.dumps(shown), "lattice tx shows another transaction")
        return sent

    checks.check("send pays, and tx shows it", transfer)
    checks.check("balance", lambda: expect("1500" in json.dumps(lattice("balance", RECEIVER)), "no 1500 in it"))
    checks.check("block", lambda: expect("0x" in json.dumps(lattice("block", "latest")), "no hash in it"))
    checks.check("dag", lambda: expect(lattice("dag"), "empty"))
    checks.check("a balance in words goes to stdout", lambda: expect(run([LATTICE, "balance", FIRST, *node]).stdout.strip(), "empty"))

    def pushed():
        answer = lattice("model", "push", small)
        expect(set(answer) >= {"model_id", "tx_hash", "cid", "status"}, f"fields {sorted(answer)}")
        expect(answer["status"] == "active", f"status {answer['status']}")
        expect(answer["model_id"] == json_of([LATTICE, "model", "inspect", small, "--json"])["model_id"], "inspect has another id")
        return answer["model_id"]

    model_id = checks.check("model push returns an active model with inspect's id", pushed)
    if model_id is not None:
        checks.check("model list has it", lambda: expect(model_id in json.dumps(lattice("model", "list")), "it has not"))
        checks.check("model show shows it", lambda: expect(model_id in json.dumps(lattice("model", "show", model_id)), "it does not"))

        def inferred():
            answer = lattice("run", model_id, "--input", str(folder / "x.npy"))
            agrees(answer, expected)
            receipt = rpc(url, "eth_getTransactionReceipt", answer["tx_hash"])
            expect(receipt["status"] == "0x1", f"{receipt}")
            expect(int(receipt["gasUsed"], 16) == answer["gas_used"], "gas of the receipt and of the answer")
            local = json_of([LATTICE, "run", "--local", small, "--json", "--input", folder / "x.npy"])
            expect(local["outputs"] == answer["outputs"], "the chain and the local run differ")

        checks.check("run MODEL_ID answers by transaction what --local answers", inferred)
        wide = ["run", model_id, "--input", folder / "wide.npy", "--json", *node]
        checks.check("run with a wrong shape is refused", lambda: refused([LATTICE, *wide], "7"))
    nobody = "0x" + "5e" * 32
    unknown = [LATTICE, "run", nobody, "--input", folder / "x.npy", "--json", *node]
    checks.check("a model that is not there is refused", lambda: refused(unknown, "model"))
    checks.check("model show of it is refused", lambda: refused([LATTICE, "model", "show", nobody, *node], "model"))
    checks.check("a broken model is not pushed", lambda: refused([LATTICE, "model", "push", folder / "odd.onnx", *node], "RandomNormalLike"))
    checks.check("a transaction that is not there is refused", lambda: refused([LATTICE, "tx", nobody, *node]))
    checks.check("a bad address is refused", lambda: refused([LATTICE, "balance", "0x12", *node]))
    checks.check("an unknown command is refused", lambda: refused([LATTICE, "fly"]))


def records(checks, url, folder, features):
    """What owners, providers and trainers do with their records."""
    node = ["--rpc-url", url]
    lattice = lambda *arguments: json_of([LATTICE, *arguments, "--json", *node])
    by_second = lambda *arguments: lattice(*arguments, "--key", SECOND_KEY)
    wide = folder / "seven.onnx"
    dense_model(wide, columns=7)
    first = lattice("model", "list")["models"][0]["modelId"]

    def updated():
        (folder / "delta.bin").write_bytes(b"from four columns to seven")
        answer = lattice("model", "update", first, wide, "--delta", folder / "delta.bin")
        versions = lattice("model", "versions", first)["versions"]
        expect([version["modelId"] for version in versions] == [first, answer["model_id"]], f"{versions}")
        expect(versions[1]["delta"]["baseVersion"] == "0x1", f"{versions[1]}")
        agrees(lattice("run", answer["model_id"], "--input", folder / "x.npy"), oracle(wide, features))
        return answer["model_id"]

    second = checks.check("model update adds a version that runs", updated) or first

    def owned():
        lattice("model", "permissions", first, "--allow-list")
        refused([LATTICE, "run", first, "--input", folder / "x.npy", "--key", SECOND_KEY, *node], "allow list")
        lattice("model", "price", first, "3wei")
        by_second("account", "deposit", "3wei")
        by_second("run", first, "--input", folder / "x.npy")
        expect(lattice("account", SECOND)["credits"] == "0x0", "the price was not paid")
        lattice("model", "transfer", first, SECOND)
        by_second("model", "accept", first)
        expect(lattice("model", "show", first)["owner"] == SECOND.lower(), "the owner did not change")

    checks.check("a model has permissions, a price and an owner", owned)

    def bonded():
        by_second("model", "price", first, "0")
        asked = lattice("run", second, "--input", folder / "x.npy", "--grade", "bonded", "--fee", "5wei", "--bond", "4wei")
        by_second("infer", "answer", asked["request_id"])
        agrees(lattice("infer", "show", asked["request_id"]), oracle(wide, features))
        refused([LATTICE, "infer", "challenge", asked["request_id"], *node], "is right")

    checks.check("a bonded request is answered, and no challenge shakes it", bonded)

    def trained():
        (folder / "state.bin").write_bytes(b"state")
        (folder / "job.json").write_text("{}")
        job = lattice("train", "order", first, "--job", folder / "job.json", "--dataset-root", "0x" + "11" * 32,
                      "--steps", "4", "--reward", "9wei")["job_id"]
        by_second("train", "accept", job)
        by_second("train", "checkpoint", job, folder / "state.bin", "--step", "4")
        by_second("train", "complete", job, folder / "state.bin")
        expect(lattice("train", "show", job)["status"] == "completed", "it is not")

    checks.check("a training job is ordered, trained and completed", trained)

    def adapted():
        adapter = lattice("lora", "register", first, peft_adapter(folder / "adapter"))["adapter_id"]
        both = lattice("lora", "compose", f"{adapter}=0.5")["adapter_id"]
        expect(lattice("lora", "show", both)["parts"] == [{"adapterId": adapter, "weight": 32768}], "other parts")

    checks.check("adapters are registered and composed", adapted)


def starts_and_ends(checks, folder):
    """A port in use, a data directory in use, no node at all, and a clean end."""
    with DevNode(folder / "first") as node:
        checks.check("a node is ready within 10 s", lambda: print(f"      ready after {node.ready_s:.2f} s"))
        dev = lambda port, datadir: [LATTICE, "dev", "--port", port, "--datadir", folder / datadir]
        checks.check("a port in use is a clear error", lambda: refused(dev(node.port, "second"), str(node.port)))
        checks.check("a data directory in use is a clear error", lambda: refused(dev(node.port + 1, "first"), "first"))
        time.sleep(0.1)
        node.process.send_signal(signal.SIGTERM)
        checks.check("SIGTERM ends the node with exit code 0", lambda: expect(node.process.wait(20) == 0, f"exit {node.process.returncode}"))
        gone = [LATTICE, "balance", FIRST, "--rpc-url", node.url]
        checks.check("a node that does not answer is a clear error", lambda: refused(gone, str(node.port)))


def demo(checks):
    def one_object():
        started = time.monotonic()
        done = run([LATTICE, "demo", "--json"], timeout_s=DEMO_SECONDS_MAX)
        expect(done.returncode == 0, f"exit {done.returncode}: {done.stderr[-600:]}")
        story, end = json.JSONDecoder().raw_decode(done.stdout)
        expect(isinstance(story, dict) and not done.stdout[end:].strip(), "more than one object on stdout")
        print(f"      told in {time.monotonic() - started:.1f} s: {', '.join(story)}")

    checks.check("demo tells one JSON object in under a minute", one_object)


def main():
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="lattice-cli-") as name:
        folder = Path(name)
        model = local_models(checks, folder)
        starts_and_ends(checks, folder)
        with DevNode(folder / "chain") as node:
            on_chain(checks, node.url, folder, *model)
            records(checks, node.url, folder, model[1])
        demo(checks)
    checks.finish()


if __name__ == "__main__":
    main()
