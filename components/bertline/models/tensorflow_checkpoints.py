"""Checkpoints in TensorFlow's own format, for programs that read Google's BERT."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf


def save(prefix: Path, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write `<prefix>.index` and `<prefix>.data-00000-of-00001`; `tf.train.load_checkpoint` reads them."""
    names = sorted(weights)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(np.ascontiguousarray(weights[name])) for name in names],
    )
