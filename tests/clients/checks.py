"""Named checks: each runs, is counted and never stops the ones after it. The last line is `N passed, N failed`."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TOOLS = Path(os.environ.get("LATTICE_CLIENT_TOOLS", TARGET / "ci"))
LATTICE = os.environ.get("LATTICE_BIN", str(TARGET / "release" / "lattice"))
CAST = TOOLS / "node_modules" / ".bin" / "cast"


class Checks:
    """Counts checks by name."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, run):
        """Runs one check; what it raises is its failure. Returns what it returns, or None when it failed."""
        try:
            result = run()
        except Exception as error:  # every kind of failure is a failed check
            self.failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {error}")
            return None
        self.passed += 1
        print(f"ok    {name}")
        return result

    def finish(self):
        """Prints the sum and ends the process."""
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(0 if self.failed == 0 else 1)


def expect(condition, message):
    """An assertion that Python's -O does not remove."""
    if not condition:
        raise AssertionError(message)


def run(command, timeout_s=120, **more):
    """Runs a command without input and returns the finished process, its output as text."""
    command = [str(part) for part in command]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, **more)


def output_of(command, **more):
    """Standard output of a command that must succeed."""
    done = run(command, **more)
    expect(done.returncode == 0, f"{' '.join(map(str, command))[:120]}: exit {done.returncode}: {done.stderr[-600:]}")
    return done.stdout


def json_of(command, **more):
    """The one JSON value that a command prints."""
    return json.loads(output_of(command, **more))


def rpc(url, method, *params):
    """Result of a JSON-RPC call that must succeed."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    expect("error" not in answer, f"{method}: {answer.get('error')}")
    return answer["result"]


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class DevNode:
    """`lattice dev` on a free port, for a `with` block; killed at its end whatever happened."""

    def __init__(self, datadir, port=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = Path(datadir).with_suffix(".log")
        command = [LATTICE, "dev", "--port", str(self.port), "--datadir", str(datadir)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.ready_s = self._wait()

    def _wait(self, timeout_s=10):
        started = time.monotonic()
        while time.monotonic() - started < timeout_s:
            expect(self.process.poll() is None, f"the node ended at once:\n{self.log.read_text()[-2000:]}")
            try:
                rpc(self.url, "eth_chainId")
                return time.monotonic() - started
            except OSError:
                time.sleep(0.02)
        self.process.kill()
        raise AssertionError(f"the node does not answer after {timeout_s} s:\n{self.log.read_text()[-2000:]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
