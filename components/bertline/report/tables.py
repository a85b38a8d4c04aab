"""The report's tables, for HTML and Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bertline.experiment.specs import BERT_TOKENS, Experiment
from bertline.report import formats
from bertline.report.collect import Collected, Item
from bertline.report.formats import TimeUnit
from bertline.report.manifests import EvaluateManifest, Manifest, PretrainManifest
from bertline.report.samples import label_of
from bertline.report.scores import NORMAL, Score
from bertline.sources.files import Source
from bertline.store.derivations import Key

MOST_TEMPLATES = 20


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str
    title: str = ""
    """The full value, if the text is shortened."""
    href: str = ""
    is_gap: bool = False
    is_code: bool = False


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """One table; the first cell of a row is its heading."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def corpus(collected: Collected) -> Table:
    """Dump, documents, words, examples: the original's table, with the held-out split and the vocabulary."""
    spec = collected.experiment.corpus
    found = collected.corpus.manifest.results if collected.corpus.manifest else None
    vocabulary = collected.vocabulary.manifest

    def figure(name: str, *, exact: bool = False) -> Cell:
        if found is None:
            return _gap(collected.corpus)
        number = getattr(found, name)
        return Cell(formats.integer(number) if exact else formats.count(number), formats.integer(number))

    row = (
        _source(spec.dump),
        Cell(spec.language),
        figure("documents"),
        figure("words"),
        figure("tokens"),
        _gap(collected.corpus) if found is None else Cell(formats.percent(found.unknown_share)),
        Cell(str(spec.duplicates)),
        figure("examples", exact=True),
        figure("held_out_examples", exact=True),
        Cell(formats.integer(vocabulary.results.pieces)) if vocabulary else _gap(collected.vocabulary),
    )
    columns = (
        Column("dump", is_number=False),
        Column("language", is_number=False),
        Column("documents"),
        Column("words"),
        Column("tokens"),
        Column("[UNK]"),
        Column("duplicates"),
        Column("examples"),
        Column("held-out examples"),
        Column("vocabulary pieces"),
    )
    return Table("The corpus", columns, (row,))


def dropped_templates(collected: Collected) -> Table | None:
    """The most frequent templates whose text the corpus lacks; None if there are none."""
    found = collected.corpus.manifest.results.dropped_templates if collected.corpus.manifest else {}
    if not found:
        return None
    names = sorted(found, key=lambda name: (-found[name], name))[:MOST_TEMPLATES]
    columns = (Column("template", is_number=False), Column("in sentences"))
    rows = tuple((Cell(name, is_code=True), Cell(formats.integer(found[name]))) for name in names)
    return Table("Templates whose text isn't known", columns, rows)


def models(collected: Collected) -> Table:
    """The models, with the number of epochs that would equal BERT's pre-training."""
    experiment = collected.experiment
    columns = ("layers", "hidden", "heads", "batch", "steps/epoch", "epochs", "encoder", "parameters", "ref. epochs")
    rows = []
    for name, model in experiment.models.items():
        manifest, reason = _any_manifest(collected.of(PretrainManifest, model=name))
        parameters = manifest.results.parameters if manifest else None
        encoder, total = (
            [Cell(formats.count(n), formats.integer(n)) for n in (parameters.encoder, parameters.total)]
            if parameters
            else [Cell(reason, is_gap=True)] * 2
        )
        rows.append(
            (
                Cell(name),
                Cell(str(model.layers)),
                Cell(str(model.hidden)),
                Cell(str(model.heads)),
                Cell(formats.integer(model.batch_size)),
                Cell(formats.integer(experiment.pretrain.steps_per_epoch)),
                Cell(formats.integer(experiment.pretrain.epochs)),
                encoder,
                total,
                Cell(formats.integer(int(experiment.reference_epochs(name)))),
            )
        )
    return Table("The models", (Column("model", is_number=False), *map(Column, columns)), tuple(rows))


def rounds(collected: Collected, unit: TimeUnit) -> Table:
    """Cost and results of every round of pre-training."""
    items = collected.of(PretrainManifest)
    manifests = [item.manifest for item in items]
    lost = formats.time_unit(max((manifest.measurements.lost_s or 0 for manifest in manifests if manifest), default=0))
    columns = (
        "epoch",
        "step",
        f"round, {unit.name}",
        f"wall-clock, {unit.name}",
        "sequences/s",
        "host memory",
        "GPU memory",
        "MLM loss",
        "MLM accuracy",
        "NSP loss",
        "NSP accuracy",
        f"lost, {lost.name}",
        "attempts",
    )
    rows = [_round(item, unit, lost) for item in items]
    return Table(
        "Rounds of pre-training; losses and accuracies on the held-out documents",
        (Column("run", is_number=False), *map(Column, columns), Column("realization", is_number=False)),
        tuple(rows),
    )


def accuracies(collected: Collected, scores: Sequence[Score], unit: TimeUnit) -> Table:
    """Accuracy by task, epoch and model, with both kinds of error."""
    columns = (
        Column("task", is_number=False),
        Column("epoch"),
        Column("model", is_number=False),
        Column(f"wall-clock, {unit.name}"),
        Column("accuracy"),
        Column("95 % interval, points"),
        Column("n"),
        Column("fine-tunings"),
        Column("dev examples"),
        Column("standard error, points"),
        Column("no claim below, points"),
    )
    rows = tuple(
        (
            Cell(label_of(score.task, collected.experiment)),
            Cell(str(score.epoch)),
            Cell(score.model),
            Cell(unit.text(score.wall_clock_s), _seconds(score.wall_clock_s)),
            *_accuracy(score),
        )
        for score in scores
    )
    return Table("Accuracy on the whole dev set", columns, rows)


def fine_tunings(collected: Collected) -> Table:
    """Every single fine-tuning."""
    columns = (
        Column("run", is_number=False),
        Column("epoch"),
        Column("task", is_number=False),
        Column("seed"),
        Column("correct"),
        Column("of"),
        Column("accuracy"),
        Column("loss"),
        Column("trained on"),
        Column("seconds"),
        Column("realization", is_number=False),
    )
    return Table("Every fine-tuning", columns, tuple(_fine_tunings(collected)))


def provenance(collected: Collected) -> Table:
    """Versions and machines: a row for each environment."""
    environments: dict[tuple[Cell, ...], list[str]] = {}
    finished: dict[tuple[Cell, ...], list[str]] = {}
    for item in collected.realizations():
        if item.manifest:
            row = _environment(item.manifest.provenance)
            environments.setdefault(row, []).append(item.node.stage)
            finished.setdefault(row, []).append(str(item.manifest.provenance.get("finished", "")))
    rows = []
    for row, stages in environments.items():
        what = ", ".join(f"{stage} × {stages.count(stage)}" for stage in dict.fromkeys(stages))
        rows.append((Cell(what), *row, Cell(max(finished[row]) or formats.MISSING)))
    names = ("stages", "bertline", "image", "Python", "packages", "host", "processor", "memory", "last finished")
    return Table("Versions and machines", tuple(Column(name, is_number=False) for name in names), tuple(rows))


def reference_epochs(experiment: Experiment) -> Table:
    """Appendix A: the arithmetic behind the reference epochs."""
    columns = ("batch × length", "tokens a step", "steps for BERT's tokens", "steps/epoch", "ref. epochs", "this run")
    rows = []
    for name, model in experiment.models.items():
        length = experiment.corpus.sequence_length
        tokens = model.batch_size * length
        epochs = experiment.reference_epochs(name)
        rows.append(
            (
                Cell(name),
                Cell(f"{formats.integer(model.batch_size)} × {length}"),
                Cell(formats.integer(tokens)),
                Cell(formats.integer(BERT_TOKENS // tokens)),
                Cell(formats.integer(experiment.pretrain.steps_per_epoch)),
                Cell(formats.integer(int(epochs))),
                Cell(_share(experiment.pretrain.epochs / epochs) if epochs else formats.MISSING),
            )
        )
    return Table("Reference epochs", (Column("model", is_number=False), *map(Column, columns)), tuple(rows))


def key(key: Key, stage: str = "") -> Cell:
    """The beginning of a key, with the full key as its title."""
    return Cell(formats.short(key), f"{stage} {key}".strip(), is_code=True)


def _round(item: Item[PretrainManifest], unit: TimeUnit, lost: TimeUnit) -> tuple[Cell, ...]:
    node, manifest = item.node, item.manifest
    address = key(node.key, node.stage)
    if manifest is None:
        return Cell(node.run), Cell(str(node.epoch)), *[_gap(item)] * 12, address
    results, measured = manifest.results, manifest.measurements
    held_out = results.epochs[-1].held_out
    return (
        Cell(node.run),
        Cell(str(node.epoch)),
        Cell(formats.integer(results.step)),
        Cell(unit.text(measured.round_wall_clock_s), _seconds(measured.round_wall_clock_s)),
        Cell(unit.text(measured.wall_clock_s), _seconds(measured.wall_clock_s)),
        Cell(formats.rate(measured.sequences_per_s)),
        Cell(formats.memory(measured.host_memory_peak_bytes), _bytes(measured.host_memory_peak_bytes)),
        _gpu(manifest),
        Cell(formats.decimal(held_out.mlm_loss if held_out else None)),
        Cell(formats.percent(held_out.mlm_accuracy if held_out else None)),
        Cell(formats.decimal(held_out.nsp_loss if held_out else None)),
        Cell(formats.percent(held_out.nsp_accuracy if held_out else None)),
        Cell(lost.text(measured.lost_s), _seconds(measured.lost_s)),
        Cell(formats.integer(measured.attempts)),
        address,
    )


def _gpu(manifest: PretrainManifest) -> Cell:
    measured = manifest.measurements
    if measured.gpu_present == 0:
        return Cell("no GPU")
    return Cell(formats.memory(measured.gpu_memory_peak_bytes), _bytes(measured.gpu_memory_peak_bytes))


def _accuracy(score: Score) -> tuple[Cell, ...]:
    if score.accuracy is None or score.sampling_error is None:
        return Cell(score.reason, is_gap=True), *[Cell(formats.MISSING)] * 2, _done(score), *[Cell(formats.MISSING)] * 3
    # In 95 of 100 cases two single evaluations of equal models differ by at most 1.96 * sqrt(2) standard errors.
    detectable = NORMAL * 2**0.5 * score.sampling_error
    return (
        Cell(formats.percent(score.accuracy), f"{score.accuracy:.6f}"),
        Cell("one seed" if score.half_width is None else f"±{formats.points(score.half_width)}"),
        Cell(str(score.n)),
        _done(score),
        Cell(formats.integer(score.examples)),
        Cell(formats.decimal(100 * score.sampling_error, 2)),
        Cell(formats.points(detectable)),
    )


def _done(score: Score) -> Cell:
    if score.done == score.planned:
        return Cell(str(score.done))
    return Cell(f"{score.done} of {score.planned}", score.reason, is_gap=True)


def _fine_tunings(collected: Collected) -> Iterator[tuple[Cell, ...]]:
    for item in collected.of(EvaluateManifest):
        node, manifest = item.node, item.manifest
        figures: tuple[Cell, ...] = (_gap(item),) * 6
        if manifest:
            results = manifest.results
            figures = (
                Cell(formats.integer(results.correct)),
                Cell(formats.integer(results.examples)),
                Cell(formats.percent(results.accuracy), f"{results.accuracy:.6f}"),
                Cell(formats.decimal(results.loss)),
                Cell(formats.integer(results.train_examples)),
                Cell(formats.decimal(manifest.measurements.seconds, 1)),
            )
        yield (
            Cell(node.run),
            Cell(str(node.epoch)),
            Cell(label_of(node.glue_task, collected.experiment)),
            Cell(str(node.fine_tuning_seed)),
            *figures,
            key(node.key, node.stage),
        )


def _environment(provenance: dict[str, Any]) -> tuple[Cell, ...]:
    revision = provenance.get("revision")
    version = str(provenance.get("bertline") or formats.MISSING)
    packages = provenance.get("packages") or {}
    memory = provenance.get("memory_bytes")
    return (
        Cell(f"{version} ({revision})" if revision else version),
        Cell(str(provenance.get("image") or "none")),
        Cell(str(provenance.get("python") or formats.MISSING)),
        Cell(", ".join(f"{name} {version}" for name, version in sorted(packages.items())) or formats.MISSING),
        Cell(str(provenance.get("host") or formats.MISSING)),
        Cell(str(provenance.get("processor") or formats.MISSING)),
        Cell(formats.memory(memory if isinstance(memory, int) else None)),
    )


def _any_manifest(items: Sequence[Item[PretrainManifest]]) -> tuple[PretrainManifest | None, str]:
    """A manifest of the first finished round, or why there is none; all rounds have the same architecture."""
    return next((item.manifest for item in items if item.manifest), None), items[0].reason


def _source(source: Source) -> Cell:
    # Link only http(s): a click on other schemes could be harmful.
    href = source.url if source.url.startswith(("https://", "http://")) else ""
    return Cell(source.name if href or source.is_local else source.url, source.identity, href=href)


def _gap(item: Item[Manifest]) -> Cell:
    return Cell(item.reason, is_gap=True)


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:,.2f} s"


def _bytes(size: int | None) -> str:
    return "" if size is None else f"{size:,} bytes"


def _share(share: float) -> str:
    return f"{100 * share:.2g} %"
