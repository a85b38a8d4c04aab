"""A trainer's weights under the names of other programs, read back by those programs."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from bertline.errors import UserError
from bertline.experiment.specs import Model, Optimizer
from bertline.models import exchange

PEERS = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
PIECES, LENGTH, PREDICTIONS = 50, 16, 8
MODEL = Model(layers=3, batch_size=4, hidden=32, heads=4, intermediate=64, max_positions=LENGTH)

READ = """
import sys
import numpy as np
import torch
from transformers import BertForPreTraining
folder = sys.argv[1]
asked = {name: torch.tensor(values).long() for name, values in np.load(f"{folder}/asked.npz").items()}
model, told = BertForPreTraining.from_pretrained(folder, output_loading_info=True)
assert not any(told.values()), told
model.eval()
with torch.no_grad():
    found = model(**asked, output_hidden_states=True)
np.savez(f"{folder}/found.npz", hidden=found.hidden_states[-1], masked=found.prediction_logits,
         pairs=found.seq_relationship_logits)
"""


@pytest.fixture(scope="module")
def trainer():
    """With weights far from their initial values, so that each of them matters."""
    from bertline.pretrain.trainer import Trainer

    made = Trainer(MODEL, Optimizer(), PIECES, next_sentence=True, seed=1)
    draw = np.random.default_rng(1)
    for variable in (made.encoder_variables | made.head_variables).values():
        variable.assign(draw.normal(0, 0.3, variable.shape))
    return made


@pytest.fixture(scope="module")
def weights(trainer):
    from bertline.models import encoders

    return encoders.arrays(trainer.encoder_variables) | encoders.arrays(trainer.head_variables)


def test_google_names_and_shapes(weights, tmp_path):
    import tensorflow as tf

    from bertline.models import tensorflow_checkpoints

    tensorflow_checkpoints.save(tmp_path / "bert_model.ckpt", exchange.google(weights))
    saved = tf.train.load_checkpoint(str(tmp_path / "bert_model.ckpt"))
    shapes = saved.get_variable_to_shape_map()
    assert len(shapes) == len(weights) == 3 * 16 + 5 + 2 + 5 + 2
    assert shapes["bert/encoder/layer_2/attention/self/query/kernel"] == [32, 32]
    assert shapes["cls/seq_relationship/output_weights"] == [2, 32]
    kernel = weights["transformer/layer_2/self_attention/attention_output/kernel"]  # [heads, size, hidden]
    found = saved.get_tensor("bert/encoder/layer_2/attention/output/dense/kernel")
    assert np.array_equal(found, kernel.reshape(32, 32))


def test_a_weight_that_bert_lacks_is_refused():
    with pytest.raises(UserError, match=r"transformer/layer_0/gate/kernel"):
        exchange.hugging_face({"transformer/layer_0/gate/kernel": np.zeros(1)})


def test_hugging_face_names_are_all_different(weights):
    named = exchange.hugging_face(weights)
    assert len(named) == len(weights)
    assert named["bert.encoder.layer.0.intermediate.dense.weight"].shape == (64, 32)
    assert named["bert.embeddings.LayerNorm.bias"].shape == (32,)


@pytest.mark.slow
def test_transformers_computes_the_same(trainer, weights, tmp_path):
    """Slow: it needs PyTorch and transformers, which `make peers` puts into an environment of their own."""
    import tensorflow as tf

    if not PEERS.exists():
        pytest.skip("transformers isn't here: make peers")
    draw = np.random.default_rng(2)
    ids = draw.integers(0, PIECES, (4, LENGTH), np.int32)
    mask, segments = np.ones_like(ids), np.zeros_like(ids)
    mask[1, 10:], segments[:, 8:] = 0, 1
    np.savez(tmp_path / "asked.npz", input_ids=ids, attention_mask=mask, token_type_ids=segments)
    safetensors.numpy.save_file(exchange.hugging_face(weights), tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(exchange.hugging_face_config(MODEL, PIECES)))
    subprocess.run([PEERS, "-c", READ, tmp_path], check=True, timeout=300, env=os.environ | {"HF_HUB_OFFLINE": "1"})

    positions = np.tile(np.arange(PREDICTIONS, dtype=np.int32), (4, 1))
    batch = {"input_ids": ids, "input_mask": mask, "segment_ids": segments, "masked_lm_positions": positions}
    batch = {name: tf.constant(values) for name, values in batch.items()}
    masked, pairs = trainer._forward(batch, training=False)
    encoded = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": segments}
    hidden = trainer.encoder(encoded, training=False)["sequence_output"].numpy()
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["masked"][:, :PREDICTIONS], masked.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["pairs"], pairs.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["hidden"][mask == 1], hidden[mask == 1], atol=1e-5)
