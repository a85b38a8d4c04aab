"""The time that a missing result takes: the work itself and the start-up (imports, tracing, staging, saving).

The best available source is used:
    measured    manifests and attempts of this store with the same shape, on the same kind of device
    a table     the same shape on the original's GTX 1080 Ti, or on two CPU cores
    computed    FLOPs of the shape at rates of other shapes, or bytes of the dump: a wide range
    unknown     no estimate

`devices.speed` scales from one GPU to another. A task with n threads is at least as fast as with min(n, 2) threads, and
at most n times as fast as with one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertline.corpus.config import CorpusConfig, CorpusPartConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment.specs import Model
from bertline.models import flops
from bertline.pretrain.config import PretrainConfig
from bertline.report.config import ReportConfig
from bertline.stage.configs import StageConfig
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.estimates import baselines, devices, earlier_runs, volumes
from bertline_pipelines.estimates.baselines import NOTHING, Range
from bertline_pipelines.estimates.devices import Device
from bertline_pipelines.estimates.earlier_runs import Earlier, EarlierRuns

CLASSES = 3  # of MNLI


@dataclass(frozen=True)
class Time:
    """Seconds and their basis."""

    work: Range | None
    """None means not known."""
    basis: str
    start: Range = NOTHING
    """Seconds of the stage's process beside the work."""


def of(config: StageConfig, known: EarlierRuns, device: Device) -> Time:
    """How long one result takes on a device."""
    match config:
        case PretrainConfig():
            return _pretrain(config, known, device)
        case EvaluateConfig():
            return _evaluate(config, known, device)
        case CorpusConfig():
            return _corpus(config, known, device)
        case CorpusPartConfig():
            return Time(NOTHING, "counted with the task corpus, whose work it shares")
        case ReportConfig():
            return _alike(known.earlier(config.STAGE), "reports", baselines.REPORT_S, DEMOS, known)
        case VocabularyConfig():
            return _vocabulary(config, known)
    return Time(None, f"unknown: there is no estimate for the stage {config.STAGE}")


DEMOS = "`make demo` and `make demo-real` on two virtual x86-64 cores"

_SPEEDS = {name: PretrainConfig.model_fields[name].default for name in ("precision", "xla")}
"""Options that change how fast a round is, with the defaults that older results had."""


def _whole(model: dict[str, Any]) -> dict[str, Any]:
    """An earlier result's model, with the options that it was too early for."""
    return {name: field.default for name, field in Model.model_fields.items()} | model


def _pretrain(config: PretrainConfig, known: EarlierRuns, device: Device) -> Time:
    sequences = float((config.end_step - config.begin_step) * config.model.batch_size)
    shape = known.shapes[config.corpus]
    asked = config.derivation().resolved
    alike = [
        earlier
        for earlier in known.earlier(config.STAGE)
        if _whole(earlier.config["model"]) == asked["model"]
        and earlier.config.get("next_sentence") == asked["next_sentence"]
        and all(earlier.config.get(name, default) == asked[name] for name, default in _SPEEDS.items())
        and known.shapes.get(earlier.inputs.get("corpus", "")) == shape
        and known.pieces in (None, earlier.manifest.results.get("vocabulary_size"))
        and earlier.measured("sequences_per_s") > 0
    ]
    if found := known.closest(alike, device):
        works = [_scaled(sequences / each.measured("sequences_per_s"), each, device) for each in found]
        rests = [took - each.measured("round_wall_clock_s") for each in found if (took := known.took(each))]
        start = Range.of(max(0.0, rest) for rest in rests) if rests else baselines.TENSORFLOW_S
        return Time(_around(works), _where(found, device), start)
    epochs = config.end_epoch - config.begin_epoch
    held_out = Range(
        sequences, sequences + config.held_out_examples * epochs / 3
    )  # forward passes: a third of training
    start = baselines.TENSORFLOW_S + volumes.staging(known, device)
    for rate in baselines.PRETRAINING:
        if rate.fits(config.model, device.gpu is not None) and shape[0] == 128 and known.pieces in (None, 30_522):
            assumed = "" if known.pieces else ", assuming 30,522 pieces"
            return _by_table(held_out / rate.sequences_per_s, rate.basis + assumed, device, start)
    operations = flops.pretraining(config.model, *shape, known.pieces or 30_522, next_sentence=config.next_sentence)
    return _by_flops(held_out * operations, baselines.PRETRAINING_FLOPS_PER_THREAD, device, start)


def _evaluate(config: EvaluateConfig, known: EarlierRuns, device: Device) -> Time:
    asked = config.derivation().resolved
    everything = known.earlier(config.STAGE)
    examples, counted = _train_examples(config, asked, everything)
    if examples is None:
        return Time(None, "unknown: the number of training examples isn't known yet")
    sequences = float(examples * config.epochs)
    alike = [
        earlier
        for earlier in everything
        if _whole(earlier.config["model"]) == asked["model"]
        and all(earlier.config.get(name) == asked[name] for name in ("batch_size", "sequence_length"))
        and earlier.measured("sequences_per_s") > 0
    ]
    if found := known.closest(alike, device):
        works = [_scaled(sequences / each.measured("sequences_per_s"), each, device) for each in found]
        rests = [each.measured("seconds") - _fine_tuning_s(each) for each in found]
        start = Range.of(max(0.0, rest) for rest in rests)
        return Time(_around(works), f"{_where(found, device)}; {counted}", start)
    for rate in baselines.FINE_TUNING:
        is_shape = rate.fits(config.model, device.gpu is not None, config.batch_size) and config.sequence_length == 128
        if is_shape and config.task.startswith("MNLI"):  # pairs of other lengths have other rates
            basis = f"{rate.basis}; {counted}"
            return _by_table(_exactly(sequences) / rate.sequences_per_s, basis, device, baselines.TENSORFLOW_S)
    operations = sequences * flops.fine_tuning(config.model, config.sequence_length, CLASSES)
    made = _by_flops(_exactly(operations), baselines.FINE_TUNING_FLOPS_PER_THREAD, device, baselines.TENSORFLOW_S)
    return Time(made.work, f"{made.basis}; {counted}", made.start)


def _fine_tuning_s(earlier: Earlier) -> float:
    """Its seconds of training, without start-up, encoding and testing."""
    epochs = float(earlier.config.get("epochs") or 0)
    return earlier.result("train_examples") * epochs / earlier.measured("sequences_per_s")


def _train_examples(config: EvaluateConfig, asked: Any, earlier: Sequence[Earlier]) -> tuple[int | None, str]:
    """Examples of one epoch, and the basis of this number."""
    most = config.max_train_examples
    of_file = [each for each in earlier if each.config.get("files", {}).get("train") == asked["files"]["train"]]
    same = [each for each in of_file if each.config.get("max_train_examples") == most]
    if same:
        return int(same[0].result("train_examples")), "as many examples as before"
    if lines := earlier_runs.lines(config.files.train):
        count, counted = lines - 1, "one example a line of the training file"  # without its header
    elif config.task.startswith("MNLI"):
        count, counted = baselines.MNLI_TRAIN, f"MNLI's {baselines.MNLI_TRAIN:,} training pairs"
    else:
        return most, "as many examples as the experiment allows"
    return (count, counted) if most is None or most >= count else (most, "as many examples as the experiment allows")


def _corpus(config: CorpusConfig, known: EarlierRuns, device: Device) -> Time:
    words, counted = volumes.words(config.corpus.dump, known)
    if words is None:
        return Time(None, f"unknown: {counted}")
    asked = config.derivation().resolved["corpus"]
    shape = (
        *("language", "duplicates", "sequence_length", "max_predictions", "next_sentence", "whole_word_masking"),
        *("max_ngram", "compression"),
    )
    alike = [
        each
        for each in known.earlier(config.STAGE)
        if volumes.has_shape(each.config, asked, shape) and _words_per_s(each) > 0
    ]
    if found := known.closest(alike, Device(processor=device.processor)):
        rates = Range.of(map(_words_per_s, found)) * device.threads
        rests = [took - each.result("words") / _words_per_s(each) / workers for each in found
                 if (took := known.took(each)) and (workers := each.measured("workers"))]  # fmt: skip
        start = Range.of(max(0.0, rest) for rest in rests) if rests else NOTHING
        return Time(words / rates, f"{_where(found, device)}; {counted}", start)
    # Duplicates add work to the reduce pass, not to the map pass.
    growth = Range.of((1.0, config.corpus.duplicates / 2))
    work = Range(words.low * growth.low, words.high * growth.high) / (baselines.CORPUS_WORDS_PER_S * device.threads)
    if (config.corpus.duplicates, config.corpus.sequence_length) == (2, 128):
        return Time(work, f"{baselines.CORPUS_BASIS}; {counted}")
    fastest = words.low / baselines.CORPUS_FASTEST_WORDS_PER_S / device.threads
    return Time(Range(min(fastest, work.low), work.high), f"{baselines.CORPUS_BASIS}, other shapes slower; {counted}")


def _words_per_s(earlier: Earlier) -> float:
    """Words a second of one worker; several pods may have shared the work."""
    if seconds := earlier.measured("worker_s"):
        return earlier.result("words") / seconds
    return earlier.measured("words_per_s") / (earlier.measured("workers") or 1)


def _vocabulary(config: VocabularyConfig, known: EarlierRuns) -> Time:
    earlier = known.earlier(config.STAGE)
    if config.vocabulary.file:
        from_files = [each for each in earlier if each.config["vocabulary"].get("file")]
        return _alike(from_files, "vocabularies from files", baselines.VOCABULARY_FILE_S, DEMOS, known)
    assert config.vocabulary.train is not None
    assert config.articles is not None
    words, counted = volumes.words(config.articles.dump, known)
    if words is None:
        return Time(None, f"unknown: {counted}")
    most = config.vocabulary.train.max_characters
    characters = words * baselines.CHARACTERS_A_WORD
    characters = Range(min(most, characters.low), min(most, characters.high))
    rates = [each.result("characters") / each.measured("seconds") for each in earlier
             if each.result("characters") and each.measured("seconds") > 0]  # fmt: skip
    if rates:
        return Time(characters / Range.of(rates), f"measured: vocabularies in this store, {len(rates)}; {counted}")
    return Time(characters / baselines.VOCABULARY_CHARACTERS_PER_S, f"{baselines.VOCABULARY_BASIS}; {counted}")


def _alike(found: Sequence[Earlier], what: str, otherwise: Range, basis: str, known: EarlierRuns) -> Time:
    """The time of similar results; it hardly depends on the experiment."""
    times = [seconds for each in found if (seconds := known.took(each) or each.measured("seconds")) > 0]
    if not times:
        return Time(otherwise, basis)
    return Time(Range.of(times), f"measured: {what} in this store, {len(times)}")


def _by_table(seconds: Range, basis: str, device: Device, start: Range) -> Time:
    """The time for a shape in a table, on the device."""
    if device.gpu is None:
        # the table's range goes from one thread to two
        return Time(Range(seconds.low * 2 / max(2, device.threads), seconds.high), basis, start)
    faster = devices.speed(baselines.GPU, device.gpu)
    if faster is None:
        return Time(None, UNKNOWN_GPU, start)
    return Time(seconds / faster, basis + _bounds(device.gpu), start)


def _by_flops(operations: Range, per_thread: Range, device: Device, start: Range) -> Time:
    """The time for a shape without measurements."""
    if device.gpu is None:
        rates = Range(per_thread.low * min(2, device.threads), per_thread.high * device.threads)
        return Time(operations / rates, f"reckoned: {baselines.FLOPS_BASIS}", start)
    faster = devices.speed(baselines.GPU, device.gpu)
    if faster is None:
        return Time(None, UNKNOWN_GPU, start)
    seconds = operations / baselines.GPU_FLOPS
    return Time(seconds / faster, f"reckoned: {baselines.GPU_FLOPS_BASIS}{_bounds(device.gpu)}", start)


UNKNOWN_GPU = (
    "unknown: this store has no result of this shape from a GPU, and the profile's node_selector names no GPU of the "
    "tables"
)


def _bounds(gpu: str) -> str:
    return "" if gpu == baselines.GPU else f", scaled to the {gpu} by memory bandwidth and by FLOP/s, not measured"


def _scaled(seconds: float, earlier: Earlier, device: Device) -> Range:
    """Scale seconds from the measured device to another one."""
    if device.gpu is None or device.gpu == devices.UNKNOWN or earlier.gpu == device.gpu:
        return _exactly(seconds)
    faster = devices.speed(earlier.gpu, device.gpu)
    assert faster is not None  # see `EarlierRuns.closest`
    return _exactly(seconds) / faster


def _exactly(value: float) -> Range:
    return Range(value, value)


def _around(ranges: Sequence[Range]) -> Range:
    return Range(min(each.low for each in ranges), max(each.high for each in ranges))


def _where(found: Sequence[Earlier], device: Device) -> str:
    newest = found[0]
    places = sorted({each.where for each in found})
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    basis = f"measured: {newest.manifest.stage} {newest.manifest.key[:12]}{more}, on {' or '.join(places)}"
    is_scaled = device.gpu not in (None, devices.UNKNOWN, newest.gpu)
    return basis + (_bounds(device.gpu or "") if is_scaled else "")
