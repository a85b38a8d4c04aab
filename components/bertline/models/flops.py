"""How much a BERT computes in training, and how much a device could.

Only multiplications of matrices count, as everybody counts them; a multiplication and its addition are two operations.
Backwards takes twice as many as forwards, so training takes 6 for each weight that an input meets. Padding counts: it
is computed too. One sequence of length L, width H, feed-forward width I:

    a layer        L · (4·H² + 2·H·I)     query, key, value, output; the two of the feed-forward layer
                 + 2·L²·H                 attention: scores, and their sum over values
    MLM            P · (H² + H·V)         transform and vocabulary of V pieces, at P masked positions
    pooler, head   H² + H·C               over [CLS], C classes
"""

from bertline.experiment.specs import Model

TRAINING = 6  # 2 operations · (1 forwards + 2 backwards)
SENTENCE_ORDERS = 2

# FLOP/s of float32 models as TensorFlow trains them: TF32 on tensor cores where the device has it (without sparsity),
# else float32. From NVIDIA's data sheets; those of L4 and H100 print TF32 with sparsity, which is twice this.
# A name has to match to the letter: a MIG slice is less than the device, and unknown devices have no utilization.
PEAKS = {
    "NVIDIA L4": 60e12,
    "NVIDIA A100-SXM4-40GB": 156e12,
    "NVIDIA A100-SXM4-80GB": 156e12,
    "NVIDIA A100-PCIE-40GB": 156e12,
    "NVIDIA A100 80GB PCIe": 156e12,
    "NVIDIA H100 80GB HBM3": 494.5e12,
    "NVIDIA H100 PCIe": 378e12,
    "Tesla T4": 8.1e12,
    "Tesla V100-SXM2-16GB": 15.7e12,
    "Tesla V100-SXM2-32GB": 15.7e12,
    "Tesla V100-PCIE-16GB": 14e12,
    "Tesla V100-PCIE-32GB": 14e12,
}


def pretraining(model: Model, length: int, predictions: int, pieces: int, *, next_sentence: bool) -> float:
    """To train on one sequence with so many masked positions."""
    head = predictions * (model.hidden**2 + model.hidden * pieces)
    return TRAINING * float(_layers(model, length) + head + next_sentence * _pooled(model, SENTENCE_ORDERS))


def fine_tuning(model: Model, length: int, classes: int) -> float:
    """To train on one pair."""
    return TRAINING * float(_layers(model, length) + _pooled(model, classes))


def _layers(model: Model, length: int) -> int:
    weights = 4 * model.hidden**2 + 2 * model.hidden * model.intermediate
    return model.layers * (length * weights + 2 * length**2 * model.hidden)


def _pooled(model: Model, classes: int) -> int:
    return model.hidden**2 + model.hidden * classes
