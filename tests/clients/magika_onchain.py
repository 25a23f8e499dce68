#!/usr/bin/env python3
"""Google's file classifier magika on the chain: real files, by transactions and through a Solidity contract.

    magika_onchain.py --url http://127.0.0.1:8545

Pushes the model of the PyPI package, extracts each file's features with the package's own code, and compares the
chain's answers with ONNX Runtime's on the same features: label by label, and score by score within 1e-5.
"""

import argparse
import json
import tempfile
from pathlib import Path

import magika
import numpy as np
import onnxruntime

from checks import CAST, LATTICE, ROOT, Checks, expect, json_of, output_of
from real_files import real_files

# Key 8 of the well-known test mnemonic, funded on every dev chain.
KEY = "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"
TOLERANCE = 1e-5


def features_of(classifier, path):
    """What magika feeds to its model for a file: int32[1, 2048]."""
    _, features = classifier._get_result_or_features_from_path(path)
    expect(features is not None, "the file is too short for the model")
    return np.array([features.beg + features.end], dtype=np.int32)


class Oracle:
    """ONNX Runtime, one thread, on the same model file."""

    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def scores(self, features):
        return self.session.run(None, {self.input: features})[0].reshape(-1)


class Contract:
    """A Classifier contract for one model, used through cast."""

    def __init__(self, url, model_id):
        self.node = ["--rpc-url", url]
        artifact = json.loads((ROOT / "contracts/artifacts/Classifier.json").read_text())
        code = artifact["bytecode"] + model_id.removeprefix("0x")
        receipt = self._send("--create", code)
        self.address = receipt["contractAddress"]

    def _send(self, *arguments):
        receipt = json_of([CAST, "send", *self.node, "--private-key", KEY, "--json", *arguments])
        expect(receipt["status"] == "0x1", f"the transaction reverted: {receipt}")
        return receipt

    def _call(self, *arguments):
        return int(output_of([CAST, "call", *self.node, self.address, *arguments]).split()[0])

    def classify(self, features):
        """The label by eth_call."""
        return self._call("classify(bytes)(uint256)", "0x" + features.astype("<i4").tobytes().hex())

    def record(self, features):
        """The label by a transaction: as the event tells it and as the contract keeps it; and the gas."""
        # The access list, which the node makes, declares the model's work: it is more than goes undeclared.
        data = "0x" + features.astype("<i4").tobytes().hex()
        receipt = self._send(self.address, "record(bytes)", data, "--access-list")
        label = int(receipt["logs"][0]["data"], 16)
        kept = self._call("lastLabel()(uint256)")
        expect(label == kept, f"the event says {label}, the contract keeps {kept}")
        return label, int(receipt["gasUsed"], 16)


def run_on_chain(url, model_id, features, folder):
    """Scores and gas of an inference by transaction, through the CLI."""
    path = Path(folder) / "features.npy"
    np.save(path, features)
    command = [LATTICE, "run", model_id, "--input", path, "--json", "--rpc-url", url]
    answer = json_of(command)
    output = answer["outputs"][0]
    scores = np.array([float(value) for value in np.ravel(np.array(output["data"], dtype=object))], dtype=np.float32)
    expect(output["dtype"] in ("f32", "float32"), f"dtype {output['dtype']}")
    expect(int(np.prod(output["shape"])) == scores.size, f"shape {output['shape']} of {scores.size} values")
    expect(answer["tx_hash"] is not None, "no transaction hash")
    return scores, answer["gas_used"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8545")
    url = parser.parse_args().url
    checks = Checks()
    classifier = magika.Magika()
    model = next(Path(magika.__file__).parent.glob("models/*/model.onnx"))
    labels = json.loads(model.with_name("config.min.json").read_text())["target_labels_space"]
    oracle = Oracle(model)

    pushed = checks.check("the model is pushed and active", lambda: push(url, model))
    if pushed is None:
        checks.finish()
    contract = checks.check("a contract for it is deployed with cast", lambda: Contract(url, pushed["model_id"]))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in real_files(folder).items():
            features = features_of(classifier, path)
            expected = oracle.scores(features)
            row = {"kind": kind, "file": path.name, "onnxruntime": labels[int(expected.argmax())]}
            rows.append(row)
            checks.check(f"{kind}: transaction", lambda: by_transaction(url, pushed, features, folder, expected, row, labels))
            if contract is not None:
                checks.check(f"{kind}: contract", lambda: by_contract(contract, features, expected, row, labels))
    print_table(rows)
    checks.finish()


def push(url, model):
    answer = json_of([LATTICE, "model", "push", model, "--json", "--rpc-url", url])
    expect(answer["status"] == "active", f"status {answer['status']}")
    print(f"model {answer['model_id']} cid {answer['cid']}")
    return answer


def by_transaction(url, pushed, features, folder, expected, row, labels):
    scores, row["gas"] = run_on_chain(url, pushed["model_id"], features, folder)
    row["transaction"] = labels[int(scores.argmax())]
    row["difference"] = float(np.abs(scores - expected).max())
    expect(scores.argmax() == expected.argmax(), f"{row['transaction']} instead of {row['onnxruntime']}")
    expect(row["difference"] <= TOLERANCE, f"scores differ by {row['difference']:.2e}")


def by_contract(contract, features, expected, row, labels):
    called = contract.classify(features)
    row["eth_call"] = labels[called]
    recorded, row["contract gas"] = contract.record(features)
    row["contract"] = labels[recorded]
    expect(called == recorded == expected.argmax(), f"call {called}, transaction {recorded}, expected {expected.argmax()}")


def print_table(rows):
    columns = ["kind", "file", "onnxruntime", "transaction", "difference", "gas", "eth_call", "contract", "contract gas"]
    shown = [[f"{value:.1e}" if isinstance(value, float) else str(value) for value in map(row.get, columns)] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *shown)]
    print()
    for line in [columns, *shown]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    print()


if __name__ == "__main__":
    main()
