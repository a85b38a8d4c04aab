"""`bertline export`: a milestone's weights as a folder that other programs load.

huggingface    config.json, model.safetensors, vocab.txt, tokenizer_config.json, README.md (a model card)
tensorflow     bert_config.json, bert_model.ckpt.*, vocab.txt, README.md: the layout of Google's BERT
"""

import json
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertline_cli import arguments, displays

if TYPE_CHECKING:
    import numpy as np

    from bertline.experiment.specs import Model
    from bertline.report.collect import Collected, Item
    from bertline.report.manifests import PretrainManifest
    from bertline.store.realizations import Realization

    Arrays = dict[str, np.ndarray[Any, Any]]

EXAMPLE = "Example:  bertline export my.yaml 6L-bert --model 6L --epoch 50 --store gs://my-bucket/bert"


class Format(StrEnum):
    """The folder's layout."""

    HUGGINGFACE = "huggingface"
    TENSORFLOW = "tensorflow"


def command(
    experiment: Annotated[
        str, typer.Argument(metavar="EXPERIMENT", help="Its file, or its name in the store.", show_default=False)
    ],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Folder to write.", show_default=False)],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Name of the model.", show_default="the only one")
    ] = None,
    epoch: Annotated[
        int | None, typer.Option("--epoch", "-e", help="Epoch of the milestone.", show_default="the last that is done")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of pre-training.", show_default="the first")] = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="Whose layout.")] = Format.HUGGINGFACE,
    store: arguments.Store = None,
    profile: arguments.OptionalProfile = None,
    as_json: arguments.Json = False,
) -> None:
    """Write a milestone's weights for `transformers`, or for programs that read Google's BERT checkpoints."""
    from bertline.report.collect import collect
    from bertline.store import disks, realizations, references

    name = arguments.name(experiment)
    connected = arguments.existing(store, profile)
    collected = collect(connected, references.current(connected, name))
    item = _milestone(collected, model, epoch, seed)
    with disks.output(destination):
        destination.mkdir(parents=True, exist_ok=True)
    pretrained = realizations.require(connected, "pretrain", item.node.key)
    vocabulary = realizations.require(connected, "vocabulary", collected.vocabulary.node.key)
    with (
        displays.transfers(),
        TemporaryDirectory(dir=destination, prefix=".export-") as scratch,
        disks.room(destination),
    ):
        weights = _weights(pretrained, Path(scratch))
        [pieces] = vocabulary.stage(["vocab.txt"], Path(scratch))
        made = {"vocab.txt": pieces.read_bytes(), "README.md": _card(collected, item, format_).encode()}
        shape = collected.experiment.models[item.node.model]
        lower_case = collected.experiment.vocabulary.lower_case
        write = _hugging_face if format_ is Format.HUGGINGFACE else _tensorflow
        write(weights, shape, lower_case, Path(scratch), made)
        for file, content in made.items():
            Path(scratch, file).write_bytes(content)
        files = sorted(path for path in Path(scratch).iterdir() if path.is_file())
        for path in files:  # renamed when all files are complete
            path.replace(destination / path.name)
    if as_json:
        document = {"experiment": name, "model": item.node.model, "epoch": item.node.epoch, "seed": item.node.seed}
        document |= {"key": item.node.key, "format": format_.value, "files": [path.name for path in files]}
        typer.echo(json.dumps(document, indent=2))
        return
    typer.echo(f"{item.node.run} at epoch {item.node.epoch} is in {destination}: {', '.join(p.name for p in files)}")
    if format_ is Format.HUGGINGFACE:
        typer.echo(
            f"Next:  python -c \"from transformers import AutoModel; AutoModel.from_pretrained('{destination}')\""
        )


def _milestone(
    collected: "Collected", model: str | None, epoch: int | None, seed: int | None
) -> "Item[PretrainManifest]":
    """The chosen milestone.

    Raises:
        UserError: there is no such milestone, or there are several.
        TransientError: it isn't done yet.
    """
    from bertline.errors import TransientError, UserError
    from bertline.report.manifests import PretrainManifest

    models = list(collected.experiment.models)
    name = collected.experiment.name
    if model is None and len(models) > 1:
        raise UserError(f"experiment {name} has the models {', '.join(models)}; choose one by --model")
    model = model or models[0]
    if model not in models:
        raise UserError(f"experiment {name} has no model {model!r}; it has {', '.join(models)}")
    rounds = collected.of(PretrainManifest, model=model)
    seeds = list(dict.fromkeys(item.node.seed for item in rounds))
    if seed is not None and seed not in seeds:
        raise UserError(f"model {model} wasn't pre-trained with seed {seed}; accepted: {', '.join(map(str, seeds))}")
    rounds = [item for item in rounds if item.node.seed == (seeds[0] if seed is None else seed)]
    epochs = [item.node.epoch for item in rounds]
    if epoch is not None and epoch not in epochs:
        raise UserError(f"model {model} has no milestone at epoch {epoch}; accepted: {', '.join(map(str, epochs))}")
    done = [item for item in rounds if item.manifest and epoch in (None, item.node.epoch)]
    if not done:
        what = f"the milestone of {model} at epoch {epoch}" if epoch is not None else f"no milestone of {model}"
        raise TransientError(f"{what} is{' not' if epoch is not None else ''} done yet; see `bertline plan`")
    return done[-1]


def _weights(pretrained: "Realization", scratch: Path) -> "Arrays":
    """Encoder and heads. The optimizer's slots stay in the store."""
    import safetensors.numpy

    folder = scratch / "milestone"
    encoder, state = pretrained.stage(
        ["encoder.safetensors", "state.safetensors"], folder, label="fetching the weights"
    )
    heads = safetensors.numpy.load_file(state)
    return safetensors.numpy.load_file(encoder) | {
        name: values for name, values in heads.items() if not name.startswith(("m/", "v/"))
    }


def _hugging_face(weights: "Arrays", model: "Model", lower_case: bool, folder: Path, made: dict[str, bytes]) -> None:
    import safetensors.numpy

    from bertline.models import exchange

    pieces = made["vocab.txt"].count(b"\n")
    tensors = exchange.hugging_face(weights)
    safetensors.numpy.save_file(dict(sorted(tensors.items())), folder / "model.safetensors", {"format": "pt"})
    made["config.json"] = _json(exchange.hugging_face_config(model, pieces))
    made["tokenizer_config.json"] = _json(exchange.tokenizer_config(model, lower_case=lower_case))


def _tensorflow(weights: "Arrays", model: "Model", lower_case: bool, folder: Path, made: dict[str, bytes]) -> None:
    from bertline.errors import UserError
    from bertline.models import exchange

    try:
        from bertline.models import tensorflow_checkpoints
    except ModuleNotFoundError as error:
        raise UserError(
            "--format tensorflow needs TensorFlow, which isn't installed here: pip install 'bertline[pretrain]'"
        ) from error
    tensorflow_checkpoints.save(folder / "bert_model.ckpt", exchange.google(weights))
    made["bert_config.json"] = _json(exchange.google_config(model, made["vocab.txt"].count(b"\n")))


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _card(collected: "Collected", item: "Item[PretrainManifest]", format_: Format) -> str:
    """The model card: origin, shape, scores, how to load the model, how to make it again."""
    from bertline.report.manifests import EvaluateManifest

    experiment, node = collected.experiment, item.node
    assert item.manifest is not None
    results, model = item.manifest.results, experiment.models[node.model]
    last = results.epochs[-1]
    held_out = f"; held-out MLM loss {last.held_out.mlm_loss:.3f}" if last.held_out else ""
    corpus = collected.corpus.manifest
    words = f", {corpus.results.words:,} words" if corpus else ""
    tests = [
        f"| {each.node.glue_task} | {each.node.fine_tuning_seed} | {each.manifest.results.accuracy:.4f} "
        f"| {each.manifest.results.examples:,} |"
        for each in collected.of(EvaluateManifest, run=node.run, epoch=node.epoch)
        if each.manifest
    ]
    accuracies = ["", "| task | fine-tuning seed | accuracy | examples |", "| --- | --- | --- | --- |", *tests]
    load = {
        Format.HUGGINGFACE: [
            "```python",
            "from transformers import AutoModel, AutoTokenizer",
            "",
            'model = AutoModel.from_pretrained("path/of/this/folder")',
            'tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")',
            "```",
        ],
        Format.TENSORFLOW: [
            "`bert_config.json`, `bert_model.ckpt` and `vocab.txt` are the files of Google's BERT.",
        ],
    }
    lines = [
        "---",
        f"language: {experiment.corpus.language}",
        *(["library_name: transformers", "tags: [bert, fill-mask]"] if format_ is Format.HUGGINGFACE else []),
        "---",
        "",
        f"# {node.run} of {experiment.name}, epoch {node.epoch}",
        "",
        (
            f"A BERT of {model.layers} layers × {model.hidden}, {model.heads} attention heads, "
            f"{results.parameters.encoder:,} weights in the encoder. Pre-trained by bertline for {results.step:,} "
            f"steps of {model.batch_size} sequences on {experiment.corpus.dump.url}{words}{held_out}."
        ),
        "",
        "The text is " + ("lower-cased and stripped of accents." if experiment.vocabulary.lower_case else "cased."),
        *(accuracies if tests else []),
        "",
        "## Load",
        "",
        *load[format_],
        "",
        "## Origin",
        "",
        f"Milestone `{node.key}`",
        f"of corpus `{collected.corpus.node.key}`",
        f"and vocabulary `{collected.vocabulary.node.key}`.",
        "",
    ]
    return "\n".join(lines)
