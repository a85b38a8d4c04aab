"""`bertline export`: which milestone is meant, and what lies in the folder."""

import json

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from bertline.corpus.config import CorpusConfig
from bertline.errors import TransientError, UserError
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment.specs import Experiment
from bertline.pretrain.config import PretrainConfig
from bertline.store import references
from bertline.store.backends import connect
from bertline.store.realizations import Outcome, realize
from bertline.vocabulary.config import VocabularyConfig
from bertline_cli import export
from bertline_cli.export import Format
from bertline_pipelines.planning import unrolling

DATA = {"url": "https://example.org/data", "sha256": "a" * 64}
SHAPE = {"hidden": 8, "heads": 2, "intermediate": 16, "max_positions": 16}
DOCUMENT = {
    "name": "small",
    "corpus": {"dump": DATA, "shards": 1, "sequence_length": 16, "max_predictions": 3},
    "vocabulary": {"file": DATA, "lower_case": True},
    "models": {"1L": {"layers": 1, "batch_size": 128, **SHAPE}, "2L": {"layers": 2, "batch_size": 64, **SHAPE}},
    "pretrain": {
        "epochs": 2,
        "epochs_per_round": 1,
        "learning_rate": {"schedule": "constant"},
        "seeds": [1, 2],
    },
    "evaluate": {"tasks": {"MNLI-m": {"train": DATA, "dev": DATA}}, "sequence_length": 16},
}
PIECES = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n"
COUNTS = ("documents", "words", "sentences", "tokens", "examples", "held_out_documents", "held_out_examples")


def weights(layers):
    """Encoder and state, as pre-training names them; the state has the optimizer's slots too."""
    names = {
        "word_embeddings/embeddings": (6, 8),
        "position_embedding/embeddings": (16, 8),
        "type_embeddings/embeddings": (2, 8),
        "embeddings/layer_norm/gamma": (8,),
        "embeddings/layer_norm/beta": (8,),
        "pooler_transform/kernel": (8, 8),
        "pooler_transform/bias": (8,),
    }
    for layer in range(layers):
        names[f"transformer/layer_{layer}/self_attention/query/kernel"] = (8, 2, 4)
    state = {"cls/predictions/output_bias/bias": (6,), "m/pooler_transform/bias": (8,), "v/pooler_transform/bias": (8,)}
    draw = np.random.default_rng(layers)
    return ({name: draw.random(shape, np.float32) for name, shape in each.items()} for each in (names, state))


@pytest.fixture
def store(tmp_path):
    """All but the last milestone of 2L is done."""
    store = connect(str(tmp_path / "store"))
    graph = unrolling.build(Experiment.model_validate(DOCUMENT))
    references.write(store, "small", graph.document)

    def done(config, payload, results):
        def build(work):
            for name, content in payload.items():
                (work.payload / name).write_bytes(content)
            return Outcome(results, {})

        realize(store, config.derivation(), build)

    [vocabulary], [corpus] = graph.configs(VocabularyConfig), graph.configs(CorpusConfig)
    done(vocabulary, {"vocab.txt": PIECES.encode()}, {"pieces": 6, "sha256": "c" * 64})
    done(corpus, {}, dict.fromkeys((*COUNTS, "skipped_bytes"), 7))
    losses = {"loss": 3.5, "mlm_loss": 3.0, "mlm_accuracy": 0.4}
    for config in graph.configs(PretrainConfig):
        if config.label.model == "2L" and config.end_epoch == 2:
            continue
        encoder, state = map(safetensors.numpy.save, weights(config.model.layers))
        results = {
            "step": config.end_step,
            "epochs": [{"epoch": config.end_epoch, "step": config.end_step, "train": losses, "held_out": losses}],
            "parameters": {"encoder": 10, "heads": 1, "total": 11},
            "sequences": 5,
            "tokens": 6,
        }
        done(config, {"encoder.safetensors": encoder, "state.safetensors": state}, results)
    for config in graph.configs(EvaluateConfig, model="1L", epoch=2, seed=1):
        results = {"task": config.task, "labels": ["yes", "no"], "examples": 100, "correct": 61, "accuracy": 0.61}
        done(config, {}, results | {"loss": 0.5, "train_examples": 1000, "dropped": 0})
    return store


@pytest.fixture
def run(store, tmp_path, capsys):
    def run(**options):
        export.command("small", tmp_path / "here", store=store.uri, as_json=True, **options)
        return json.loads(capsys.readouterr().out), tmp_path / "here"

    return run


def test_the_last_milestone_of_the_first_seed(run):
    told, folder = run(model="1L")
    assert (told["epoch"], told["seed"], told["model"]) == (2, 1, "1L")
    files = ["README.md", "config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"]
    assert told["files"] == files == sorted(path.name for path in folder.iterdir())
    with safetensors.safe_open(folder / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}, "transformers refuses any other"
        names = set(file.keys())
    encoder, _ = weights(1)
    assert len(names) == len(encoder) + 1, "the optimizer's slots stay in the store"
    assert "cls.predictions.bias" in names
    config = json.loads((folder / "config.json").read_text())
    assert (config["vocab_size"], config["num_hidden_layers"], config["hidden_act"]) == (6, 1, "gelu_new")
    assert json.loads((folder / "tokenizer_config.json").read_text())["do_lower_case"] is True
    card = (folder / "README.md").read_text()
    assert "| MNLI-m | " in card
    assert "| 0.6100 | 100 |" in card
    assert told["key"] in card


def test_what_is_done_of_a_model_that_is_half_way(run):
    told, _ = run(model="2L", seed=2)
    assert (told["epoch"], told["seed"]) == (1, 2)


def test_googles_layout(run):
    told, folder = run(model="1L", epoch=1, format_=Format.TENSORFLOW)
    assert told["files"] == [
        *("README.md", "bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index"),
        "vocab.txt",
    ]
    assert json.loads((folder / "bert_config.json").read_text())["vocab_size"] == 6


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, UserError, "choose one by --model"),
        ({"model": "3L"}, UserError, "it has 1L, 2L"),
        ({"model": "1L", "epoch": 3}, UserError, "accepted: 1, 2"),
        ({"model": "1L", "seed": 3}, UserError, "accepted: 1, 2"),
        ({"model": "2L", "epoch": 2}, TransientError, "2L at epoch 2 is not done yet"),
    ],
)
def test_a_milestone_that_is_not_there(run, options, error, said):
    with pytest.raises(error, match=said):
        run(**options)
