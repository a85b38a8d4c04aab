"""Pre-train small BERTs, fine-tune them on the way, and trust the result."""

import os

__version__ = "0.1.0"

# TensorFlow reads these at its first import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors; at its default a dozen lines say what it was built for
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Model Garden 2.20 is written for tf_keras
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # else it takes all memory and every gauge reads 100 %
