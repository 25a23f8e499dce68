#!/usr/bin/env python3
"""Writes, for a list of files, magika's features and ONNX Runtime's outputs into a folder: the oracle of the magika test.

    pip install magika==1.0.3
    python magika_features.py OUT_DIR FILE...
    LATTICE_MAGIKA=$(python -c "import magika,pathlib;print(pathlib.Path(magika.__file__).parent/'models/standard_v3_3/model.onnx')") \
    LATTICE_MAGIKA_ORACLE=OUT_DIR cargo test -p lattice-import magika

OUT_DIR then holds `NNN-features.npy` (int32[1, 2048]), `NNN-scores.npy` (float32[1, 214]) and `labels.json` (file, label).
"""

import json
import pathlib
import sys

import magika
import numpy as np
import onnxruntime as ort
from magika.types.seekable import Seekable


def main(out_dir, files):
    out = pathlib.Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    detector = magika.Magika()
    config = detector._model_config
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = pathlib.Path(magika.__file__).parent / "models" / "standard_v3_3" / "model.onnx"
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    labels = []
    for path in map(pathlib.Path, files):
        with path.open("rb") as stream:
            features = magika.Magika._extract_features_from_seekable(
                Seekable(stream),
                config.beg_size,
                config.mid_size,
                config.end_size,
                config.padding_token,
                config.block_size,
                config.use_inputs_at_offsets,
            )
        vector = np.array([list(features.beg) + list(features.mid) + list(features.end)], dtype=np.int32)
        scores = session.run(["target_label"], {"bytes": vector})[0]
        label = str(config.target_labels_space[int(scores.argmax())])
        stem = f"{len(labels):03}"
        np.save(out / f"{stem}-features.npy", vector)
        np.save(out / f"{stem}-scores.npy", scores)
        labels.append({"file": path.name, "label": label, "score": float(scores.max())})
        print(f"{stem} {path.name}: {label} {scores.max():.4f}")
    (out / "labels.json").write_text(json.dumps(labels, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
