#!/usr/bin/env python3
"""Saves what magika's model sees of a file: python magika_features.py FILE FEATURES.npy (int32[1, 2048])."""

import sys
from pathlib import Path

import numpy
from magika import Magika
from magika_onchain import features_of

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    numpy.save(sys.argv[2], features_of(Magika(), Path(sys.argv[1])))
