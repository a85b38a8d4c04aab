"""Sizes of a model and its checkpoints, computed from shapes without TensorFlow."""

from bertline.experiment.specs import Model

FLOAT = 4
"""Bytes of a float32; all weights and optimizer slots have this type."""


def parameters(model: Model, pieces: int, *, next_sentence: bool = True) -> dict[str, int]:
    """Numbers of weights, counted as in `pretrain`.

    For 6 layers of BERT-Mini's width and 30,522 pieces: 12,750,080 in the encoder and 97,340 in the heads.
    """
    hidden = model.hidden
    norm = 2 * hidden  # gamma and beta
    dense = hidden * hidden + hidden
    # 30,522 * 256 + 512 * 256 + 2 * 256 + 512 = 7,945,728
    embeddings = pieces * hidden + model.max_positions * hidden + 2 * hidden + norm
    # query, key, value and output 4 * 65,792; up and down 2 * 256 * 1,024 + 1,024 + 256; two norms: 789,760
    layer = 4 * dense + 2 * hidden * model.intermediate + model.intermediate + hidden + 2 * norm
    encoder = embeddings + model.layers * layer + dense  # + the pooler, 65,792
    # The masked-word head: a dense layer, a norm, a bias a piece; its matrix is the embedding table. 96,826
    heads = dense + norm + pieces
    if next_sentence:
        heads += 2 * hidden + 2
    return {"encoder": encoder, "heads": heads, "total": encoder + heads}


def checkpoint_bytes(model: Model, pieces: int, *, next_sentence: bool = True) -> int:
    """Bytes of a milestone or a rolling checkpoint: weights, and AdamW's two slots for each trained weight."""
    total = parameters(model, pieces, next_sentence=next_sentence)["total"]
    pooler = model.hidden * model.hidden + model.hidden  # only NSP trains it
    trained = total if next_sentence else total - pooler
    return FLOAT * (total + 2 * trained)
