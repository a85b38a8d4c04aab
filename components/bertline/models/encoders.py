"""The encoder that pre-training makes and fine-tuning takes, and its weights as a file.

The one module that pretrain and evaluate share of TensorFlow. Weights travel as safetensors, arrays by variable name:
nothing to unpickle, the same bytes for the same values, readable without TensorFlow.
"""

import contextlib
import gc
import json
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy


@contextlib.contextmanager
def _quickly() -> Iterator[None]:
    """Importing TensorFlow is a task's fixed cost: 14 s of a slow core, 10 s this way.

    tf_keras imports pandas only to accept its frames, which nobody gives it; and the million objects that live as long
    as the process needn't be searched for garbage again and again while they are made.
    """
    absent = "pandas" not in sys.modules
    collecting = gc.isenabled()
    gc.disable()
    if absent:
        sys.modules["pandas"] = None  # type: ignore[assignment] # makes `import pandas` fail
    try:
        yield
    finally:
        if absent:
            del sys.modules["pandas"]
        gc.freeze()
        if collecting:
            gc.enable()


with _quickly():
    import tensorflow as tf

from bertline.errors import DamagedError, UserError
from bertline.experiment.specs import Model

Arrays = dict[str, np.ndarray[Any, Any]]


def use_threads(threads: int) -> None:
    """Fix the size of TensorFlow's pools, before its first operation.

    TensorFlow by itself takes a thread for each core of the node, whatever a container's limit is, and another number
    of threads may add up sums in another order.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def build(model: Model, vocabulary_size: int) -> Any:
    """Model Garden's BERT encoder, built but with whatever weights: call `initialize` or `assign`.

    Inputs: input_word_ids, input_mask, input_type_ids, each [batch, length] int32.
    Outputs: sequence_output [batch, length, hidden], pooled_output [batch, hidden].
    """
    with _quickly():  # fine-tuning alone needs it
        import tf_keras
        from official.nlp.modeling import networks
    # Before the first layer is made: dropout then draws from a tf.random.Generator of its own, whose state can be set.
    tf_keras.backend.experimental.enable_tf_random_generator()
    return networks.BertEncoder(
        vocab_size=vocabulary_size,
        hidden_size=model.hidden,
        num_layers=model.layers,
        num_attention_heads=model.heads,
        max_sequence_length=model.max_positions,
        type_vocab_size=2,
        inner_dim=model.intermediate,
        output_dropout=model.dropout,
        attention_dropout=model.dropout,
        dict_outputs=True,
    )


def named(variables: Iterable[tf.Variable]) -> dict[str, tf.Variable]:
    """Variables by name, without TensorFlow's `:0`.

    Raises:
        ValueError: two have one name, so a file couldn't tell them apart.
    """
    by_name: dict[str, tf.Variable] = {}
    for variable in variables:
        name = variable.name.removesuffix(":0")
        if name in by_name:
            raise ValueError(f"two variables are named {name}")
        by_name[name] = variable
    return by_name


def initialize(variables: Mapping[str, tf.Variable], stddev: float, seed: int) -> None:
    """BERT's initial weights as a function of (seed, name): no global generator, no order of construction.

    Kernels and embeddings: normal(0, stddev) cut at 2 stddev; LayerNorm gammas 1; everything else 0.
    """
    for name, variable in variables.items():
        kind = name.rpartition("/")[2]
        if kind in ("kernel", "embeddings"):
            drawn = tf.random.stateless_truncated_normal(variable.shape, [seed, zlib.crc32(name.encode())])
            variable.assign(drawn * stddev)
        else:
            variable.assign(tf.ones_like(variable) if kind == "gamma" else tf.zeros_like(variable))


def decayed(variables: Mapping[str, tf.Variable]) -> list[str]:
    """Names of the variables that AdamW's weight decay is for: all but biases and LayerNorm's gamma and beta."""
    return [name for name in variables if name.rpartition("/")[2] not in ("bias", "gamma", "beta")]


def generators(layers: Sequence[Any]) -> list[tf.random.Generator]:
    """The random generators of all dropout layers, in the order of layers.

    tf_keras keeps them in a private attribute; tests/pretrain checks that they are all there.
    """
    import tf_keras

    found = []
    for layer in layers:
        for part in layer._flatten_layers():
            source = getattr(part, "_random_generator", None)
            if source is not None and isinstance(part, tf_keras.layers.Dropout):
                source._maybe_init()
                found.append(source._generator)
    return found


def seed_generators(found: Sequence[tf.random.Generator], seed: int, step: tf.Tensor) -> None:
    """Make dropout a function of (seed, step, layer): then a resumed run needs no stored random state.

    Philox's state is [counter low, counter high, key], int64 each. The step goes into the counter's high half, so
    a step may draw 2^64 numbers before it touches the next step's; the key tells seeds and layers apart.
    """
    for number, generator in enumerate(found):
        state = tf.stack(
            [tf.zeros([], tf.int64), tf.cast(step, tf.int64), tf.constant(seed * 65536 + number, tf.int64)]
        )
        generator._state_var.assign(state)


def arrays(variables: Mapping[str, tf.Variable]) -> Arrays:
    """Copies of the values."""
    return {name: np.array(variable.numpy()) for name, variable in variables.items()}


def assign(variables: Mapping[str, tf.Variable], values: Arrays, where: str) -> None:
    """Set all variables, from exactly these values.

    Raises:
        UserError: a name is missing or left over, or a shape differs: weights of another architecture.
    """
    missing, unknown = sorted(variables.keys() - values.keys()), sorted(values.keys() - variables.keys())
    if missing or unknown:
        raise UserError(
            f"{where} holds other weights than this model has: missing {missing[:3]}, unknown {unknown[:3]}"
        )
    for name, variable in variables.items():
        if tuple(variable.shape) != values[name].shape:
            raise UserError(f"{where}: {name} is {values[name].shape}, this model needs {tuple(variable.shape)}")
        variable.assign(values[name])


def save(path: Path, values: Arrays, metadata: Mapping[str, Any] | None = None) -> None:
    """Write arrays as safetensors; `metadata` is JSON in the file's header.

    Raises:
        OSError: the file can't be written, as on a full disk. safetensors has an exception of its own for that.
    """
    header = {"bertline": json.dumps(metadata, sort_keys=True)} if metadata is not None else None
    try:
        safetensors.numpy.save_file({name: values[name] for name in sorted(values)}, path, header)
    except safetensors.SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and metadata of a file.

    Raises:
        DamagedError: it isn't a safetensors file.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("bertline", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - not a dict
    except safetensors.SafetensorError as error:
        raise DamagedError(f"{path} isn't a safetensors file: {error}") from error
