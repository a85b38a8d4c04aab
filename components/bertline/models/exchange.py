"""A model's weights and shape under the names that other programs use: Google's BERT and Hugging Face's `transformers`.

The names on the left are this project's, those of the Model Garden's `networks.BertEncoder` and of the heads in
`pretrain.trainer`. Google's are those of its published checkpoints (`bert_model.ckpt`), Hugging Face's those of
`BertForPreTraining`. Nothing here needs TensorFlow or PyTorch.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bertline.errors import UserError
from bertline.experiment.specs import Model
from bertline.text.wordpiece import SPECIAL_TOKENS

Arrays = Mapping[str, np.ndarray[Any, Any]]

LAYER_NORM_EPSILON = 1e-12  # networks.BertEncoder's
ACTIVATION = "gelu_new"  # the approximation by tanh, which networks.BertEncoder uses

_OUTSIDE = {
    "word_embeddings/embeddings": "bert/embeddings/word_embeddings",
    "position_embedding/embeddings": "bert/embeddings/position_embeddings",
    "type_embeddings/embeddings": "bert/embeddings/token_type_embeddings",
    "embeddings/layer_norm": "bert/embeddings/LayerNorm",
    "pooler_transform": "bert/pooler/dense",
    "cls/predictions/transform/dense": "cls/predictions/transform/dense",
    "cls/predictions/transform/LayerNorm": "cls/predictions/transform/LayerNorm",
    "cls/predictions/output_bias/bias": "cls/predictions/output_bias",
    "next_sentence/logits/kernel": "cls/seq_relationship/output_weights",
    "next_sentence/logits/bias": "cls/seq_relationship/output_bias",
}
_IN_A_LAYER = {
    "self_attention/query": "attention/self/query",
    "self_attention/key": "attention/self/key",
    "self_attention/value": "attention/self/value",
    "self_attention/attention_output": "attention/output/dense",
    "self_attention_layer_norm": "attention/output/LayerNorm",
    "intermediate": "intermediate/dense",
    "output": "output/dense",
    "output_layer_norm": "output/LayerNorm",
}
_HUGGING_FACE = {
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
}


def google(weights: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    """The weights as a checkpoint of Google's BERT has them: one matrix [in, out] for all heads of an attention.

    Raises:
        UserError: there is a weight that BERT doesn't have.
    """
    return {theirs: _as_google(ours, theirs, values) for ours, theirs, values in _renamed(weights)}


def hugging_face(weights: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    """The weights as `BertForPreTraining.state_dict` has them: matrices [out, in].

    The decoder of the MLM head is left out: `transformers` ties it to the word embeddings, as it is here.

    Raises:
        UserError: there is a weight that BERT doesn't have.
    """
    found = {}
    for ours, theirs, values in _renamed(weights):
        array = _as_google(ours, theirs, values)
        if theirs.endswith("/kernel"):
            array = array.T
        found[_hugging_face_name(theirs)] = np.ascontiguousarray(array)
    return found


def google_config(model: Model, vocabulary_size: int) -> dict[str, Any]:
    """`bert_config.json`."""
    return {
        "attention_probs_dropout_prob": model.dropout,
        "hidden_act": "gelu",  # Google's code has no other name; its gelu is the approximation by tanh
        "hidden_dropout_prob": model.dropout,
        "hidden_size": model.hidden,
        "initializer_range": model.initializer_range,
        "intermediate_size": model.intermediate,
        "max_position_embeddings": model.max_positions,
        "num_attention_heads": model.heads,
        "num_hidden_layers": model.layers,
        "type_vocab_size": 2,
        "vocab_size": vocabulary_size,
    }


def hugging_face_config(model: Model, vocabulary_size: int) -> dict[str, Any]:
    """`config.json` of a `BertForPreTraining`."""
    return google_config(model, vocabulary_size) | {
        "architectures": ["BertForPreTraining"],
        "hidden_act": ACTIVATION,
        "layer_norm_eps": LAYER_NORM_EPSILON,
        "model_type": "bert",
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
    }


def tokenizer_config(model: Model, *, lower_case: bool) -> dict[str, Any]:
    """`tokenizer_config.json` beside a `vocab.txt`."""
    named = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}
    return named | {
        "do_lower_case": lower_case,
        "model_max_length": model.max_positions,
        "strip_accents": lower_case,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
    }


def _renamed(weights: Arrays) -> Iterator[tuple[str, str, np.ndarray[Any, Any]]]:
    """Our name, Google's name, values."""
    for name, values in weights.items():
        layer = re.fullmatch(r"transformer/layer_(\d+)/(.+)/(\w+)", name)
        stem, _, kind = name.rpartition("/")
        if layer and layer[2] in _IN_A_LAYER:
            yield name, f"bert/encoder/layer_{layer[1]}/{_IN_A_LAYER[layer[2]]}/{layer[3]}", values
        elif name in _OUTSIDE:
            yield name, _OUTSIDE[name], values
        elif stem in _OUTSIDE:
            yield name, f"{_OUTSIDE[stem]}/{kind}", values
        else:
            raise UserError(f"weight {name} is none that BERT has, so other programs have no name for it")


def _as_google(ours: str, theirs: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Our attention has kernels [hidden, heads, size] and [heads, size, hidden], and biases [heads, size]."""
    if "/attention/self/" in theirs:
        return values.reshape(values.shape[0], -1) if theirs.endswith("/kernel") else values.reshape(-1)
    if theirs.endswith("/attention/output/dense/kernel"):
        return values.reshape(-1, values.shape[-1])
    return values.T if ours == "next_sentence/logits/kernel" else values


def _hugging_face_name(google_name: str) -> str:
    if google_name in _HUGGING_FACE:
        return _HUGGING_FACE[google_name]
    name = re.sub(r"/layer_(\d+)/", r"/layer/\1/", google_name).replace("/", ".")
    stem, _, kind = name.rpartition(".")
    match kind:
        case "kernel" | "gamma":
            return f"{stem}.weight"
        case "beta":
            return f"{stem}.bias"
        case "bias":
            return name
        case _:
            return f"{name}.weight"  # a table of embeddings
