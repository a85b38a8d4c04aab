"""What a trainer decays, and how many operations it takes."""

import numpy as np
import pytest

from bertline.models import flops


def test_decay_spares_exactly_biases_and_layer_norms(config):
    """Per layer: 6 kernels decay, and 8 biases + 4 LayerNorm weights don't."""
    from bertline.models import encoders
    from bertline.pretrain.trainer import Trainer

    trainer = Trainer(config.model, config.optimizer, 200, next_sentence=True, seed=1)
    decayed = encoders.decayed(trainer._trained)
    # 3 embeddings + pooler + MLM transform + NSP logits, and 6 kernels in each of 2 layers
    assert len(decayed) == 3 + 1 + 1 + 1 + 2 * 6
    assert trainer._optimizer._decayed == set(decayed)
    assert not [name for name in decayed if "norm" in name.lower() or "bias" in name]


def test_the_formula_counts_what_the_models_weights_do(config):
    """Each kernel meets an input so many times: layers every token, heads the masked ones or [CLS] alone."""
    from bertline.pretrain.trainer import Trainer

    trainer = Trainer(config.model, config.optimizer, 200, next_sentence=True, seed=1)
    length, predictions = 16, 3
    work = 2 * 2 * length**2 * config.model.hidden  # of attention, in each of 2 layers
    for name, value in trainer._trained.items():
        size = int(np.prod(value.shape))
        if name == "word_embeddings/embeddings":
            work += predictions * size  # as the kernel of the MLM's output
        elif name.endswith("kernel") and "/layer_" in f"/{name}":
            work += length * size
        elif name.endswith("kernel"):
            work += size * (predictions if name.startswith("cls/predictions") else 1)
    assert trainer.flops(length, predictions) == 6 * work
    large = config.model.model_copy(update={"hidden": 768, "intermediate": 3072, "layers": 12, "heads": 12})
    weights = 12 * 768 * (4 * 768 + 2 * 3072)
    rule_of_thumb = 6 * weights * 128
    assert flops.fine_tuning(large, 128, 3) == pytest.approx(rule_of_thumb, rel=0.03)
