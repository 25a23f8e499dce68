#!/usr/bin/env python3
"""What a call of a model costs beside its kernel: eth_call of MODEL_EXEC on a node, timed at the client.

    model_latency.py --url http://127.0.0.1:8545 --model MODEL_ID [--calls 500]

MODEL_ID is an active model of the node (`lattice model push`). Each input is sent twice over one connection: the first answer
runs the model, the second is the same call without its kernel, since the result is kept. Inputs are random bytes of small numbers.
Prints medians and 99th percentiles; needs nothing but Python.
"""

import argparse
import http.client
import json
import random
import statistics
import struct
import time
import urllib.parse

MODEL_EXEC = "0x000000000000000000000000000000000000a1f2"


class Node:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)

    def ask(self, method, *params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self.connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(self.connection.getresponse().read())
        if "error" in answer:
            raise SystemExit(f"{method}: {answer['error']['message']}")
        return answer["result"]


def values(source, dtype, count):
    if dtype == "f32":
        return struct.pack(f"<{count}f", *(source.uniform(-1, 1) for _ in range(count)))
    sizes = {"i8": 1, "u8": 1, "bool": 1, "i32": 4, "u32": 4, "i64": 8, "u64": 8}
    if dtype not in sizes:
        raise SystemExit(f"inputs of type {dtype} are not made here")
    return b"".join(source.randrange(2).to_bytes(sizes[dtype], "little") for _ in range(count))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8545")
    parser.add_argument("--model", required=True)
    parser.add_argument("--calls", type=int, default=500)
    arguments = parser.parse_args()
    node, source = Node(arguments.url), random.Random(7)
    model = node.ask("lattice_getModel", arguments.model)
    if model is None or model["status"] != "active":
        raise SystemExit(f"model {arguments.model} is not active on this node")
    first, again = [], []
    for _ in range(arguments.calls + 1):
        tensors = b""
        for tensor in model["inputs"]:
            count = 1
            for size in tensor["shape"]:
                count *= size
            tensors += values(source, tensor["dtype"], count)
        call = {"to": MODEL_EXEC, "data": arguments.model + tensors.hex()}
        answers = []
        for times in (first, again):
            start = time.perf_counter()
            answers.append(node.ask("eth_call", call, "latest"))
            times.append((time.perf_counter() - start) * 1e3)
        if answers[0] != answers[1]:
            raise SystemExit("the same call gave two answers")
    for what, times in (("with its kernel", first[1:]), ("beyond its kernel", again[1:])):
        cuts = statistics.quantiles(times, n=100, method="inclusive")
        print(f"{what:<18} median {cuts[49]:8.3f} ms, p99 {cuts[98]:8.3f} ms, worst {max(times):8.3f} ms, n = {len(times)}")


if __name__ == "__main__":
    main()
