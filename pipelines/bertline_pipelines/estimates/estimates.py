"""What the missing tasks of a plan will take: hours, bytes, money. Each figure says what it rests on.

In order of trust:
    measured    manifests of this store: the same shape, on the kind of device that the stage will have
    a table     the original's GTX 1080 Ti, or README's baseline on two CPU cores; only for the very shapes they had
    unknown     nothing else is made up; totals name the tasks that they lack

Seconds are those of work: pulling images, starting TensorFlow, waiting for a node and lost work come on top.
Pre-training counts training alone, as its wall-clock does. Bytes are those of milestones and corpus; manifests,
predictions and reports are a few MB beside them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bertline.corpus.config import CorpusConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.pretrain.config import PretrainConfig
from bertline.report.config import ReportConfig
from bertline.stages import StageConfig
from bertline.store.objects import ObjectStore
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.estimates import baselines, precedents, sizes
from bertline_pipelines.estimates.baselines import Range
from bertline_pipelines.estimates.precedents import Earlier, Precedents
from bertline_pipelines.plans import Plan, Task


@dataclass(frozen=True)
class TaskEstimate:
    """What is left of one task."""

    name: str
    stage: str
    uses_gpu: bool
    steps: int
    """Gradient steps of pre-training."""
    seconds: Range | None
    """None: unknown."""
    basis: str
    """What `seconds` rests on, or why they are unknown."""
    written: float | None
    """Bytes that stay in the store; None: unknown."""
    written_basis: str
    """What `written` rests on."""

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "stage": self.stage,
            "gpu": self.uses_gpu,
            "steps": self.steps,
            "seconds": self.seconds and self.seconds.document(),
            "basis": self.basis,
            "bytes": None if self.written is None else round(self.written),
            "bytes_basis": self.written_basis,
        }


@dataclass(frozen=True)
class Estimate:
    """What is left of a plan."""

    tasks: tuple[TaskEstimate, ...]
    rolling_peak: float | None
    """Bytes that rolling checkpoints take at worst, while all runs train at once; gone when they are done."""
    price: float | None
    """Of a GPU for an hour, in whatever currency."""

    @property
    def steps(self) -> int:
        """Gradient steps of pre-training."""
        return sum(task.steps for task in self.tasks)

    @property
    def gpu_hours(self) -> Range:
        """Of the tasks that reserve a GPU; see `unknown`."""
        return _hours(task for task in self.tasks if task.uses_gpu)

    @property
    def cpu_hours(self) -> Range:
        """Of the other tasks: hours of a task, not of a core; see `unknown`."""
        return _hours(task for task in self.tasks if not task.uses_gpu)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Tasks that the hours lack."""
        return tuple(task.name for task in self.tasks if task.seconds is None)

    @property
    def written(self) -> float:
        """Bytes that stay in the store; see `unknown_written`."""
        return sum(task.written or 0 for task in self.tasks)

    @property
    def unknown_written(self) -> tuple[str, ...]:
        """Tasks that the bytes lack."""
        return tuple(task.name for task in self.tasks if task.written is None)

    @property
    def cost(self) -> Range | None:
        """Of the GPU-hours; None without a price."""
        return None if self.price is None else self.gpu_hours * self.price

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "tasks": [task.document() for task in self.tasks],
            "steps": self.steps,
            "gpu_hours": self.gpu_hours.document(),
            "cpu_hours": self.cpu_hours.document(),
            "unknown": list(self.unknown),
            "bytes": round(self.written),
            "bytes_unknown": list(self.unknown_written),
            "rolling_peak_bytes": None if self.rolling_peak is None else round(self.rolling_peak),
            "price_per_gpu_hour": self.price,
            "cost": self.cost and self.cost.document(),
        }


def estimate(
    plan: Plan,
    store: ObjectStore | None,
    *,
    gpu_stages: Collection[str] = (),
    processor: str | None = None,
    price: float | None = None,
) -> Estimate:
    """What the missing tasks will take. Reads manifests, writes nothing.

    Args:
        plan: What is missing.
        store: Whose manifests to learn from; None has none.
        gpu_stages: Stages whose tasks get a GPU each: only what was measured on one counts for them.
        processor: As provenance has it, of where tasks without a GPU will run; what was measured there is preferred.
        price: Of a GPU for an hour.
    """
    known = Precedents(plan, store, processor)
    tasks = tuple(_task(task, known, task.stage in gpu_stages) for task in plan.missing)
    return Estimate(tasks, _rolling_peak(plan, known), price)


@dataclass(frozen=True)
class _Time:
    """Seconds and what they rest on."""

    seconds: Range | None
    basis: str


@dataclass(frozen=True)
class _Size:
    """Bytes and what they rest on."""

    written: float | None
    basis: str


NEGLIGIBLE = _Size(0.0, "a few MB at most")


def _task(task: Task, known: Precedents, uses_gpu: bool) -> TaskEstimate:
    """All of a task's configurations that are left."""
    left = [config for config, done in zip(task.configs, task.done, strict=True) if not done]
    times = [_time(config, known, uses_gpu) for config in left]
    amounts = [_size(config, known) for config in left]
    seconds = [time.seconds for time in times if time.seconds]
    written = [amount.written for amount in amounts if amount.written is not None]
    return TaskEstimate(
        task.name,
        task.stage,
        uses_gpu,
        task.steps,
        sum(seconds, Range(0, 0)) if len(seconds) == len(left) else None,
        "; ".join(dict.fromkeys(time.basis for time in times)),
        sum(written) if len(written) == len(left) else None,
        "; ".join(dict.fromkeys(amount.basis for amount in amounts)),
    )


def _time(config: StageConfig, known: Precedents, uses_gpu: bool) -> _Time:
    match config:
        case PretrainConfig():
            return _pretrain(config, known, uses_gpu)
        case EvaluateConfig():
            return _evaluate(config, known, uses_gpu)
        case CorpusConfig():
            return _corpus(config, known)
        case ReportConfig():
            return _alike(known.earlier(config.STAGE), "reports", baselines.REPORT_S)
        case VocabularyConfig() if config.vocabulary.file:
            from_files = [each for each in known.earlier(config.STAGE) if each.config["vocabulary"].get("file")]
            return _alike(from_files, "vocabularies from files", baselines.VOCABULARY_FILE_S)
        case VocabularyConfig():
            return _Time(None, "unknown: no table says how long training a vocabulary takes")
    if config.STAGE == "corpus-part":
        return _Time(Range(0, 0), "counted with the task corpus, whose work it shares")
    return _Time(None, f"unknown: nothing is known of the stage {config.STAGE}")


def _size(config: StageConfig, known: Precedents) -> _Size:
    match config:
        case PretrainConfig():
            if known.pieces is None:
                return _Size(None, "unknown: the vocabulary's size isn't known yet")
            size = sizes.checkpoint_bytes(config.model, known.pieces, next_sentence=config.next_sentence)
            return _Size(size, f"weights and two AdamW slots in float32, {known.pieces:,} pieces")
        case CorpusConfig():
            return _corpus_size(config, known)
    return NEGLIGIBLE


def _pretrain(config: PretrainConfig, known: Precedents, uses_gpu: bool) -> _Time:
    sequences = (config.end_step - config.begin_step) * config.model.batch_size
    shape = known.shapes[config.corpus]
    asked = config.derivation().resolved
    alike = [
        earlier
        for earlier in known.earlier(config.STAGE)
        if all(earlier.config.get(name) == asked[name] for name in ("model", "next_sentence"))
        and known.shapes.get(earlier.inputs.get("corpus", "")) == shape
        and known.pieces in (None, earlier.manifest.results.get("vocabulary_size"))
        and earlier.measured("sequences_per_s") > 0
    ]
    if found := known.closest(alike, gpu=uses_gpu):
        return _at_rate(sequences, Range.of(each.measured("sequences_per_s") for each in found), _where(found))
    for rate in baselines.PRETRAINING:
        if rate.fits(config.model, uses_gpu) and shape[0] == 128 and known.pieces in (None, 30_522):
            assumed = "" if known.pieces else ", assuming 30,522 pieces"
            return _at_rate(sequences, rate.sequences_per_s, rate.basis + assumed)
    return _Time(None, _nothing("milestone", uses_gpu))


def _evaluate(config: EvaluateConfig, known: Precedents, uses_gpu: bool) -> _Time:
    asked = config.derivation().resolved
    everything = known.earlier(config.STAGE)
    shaped = [
        earlier
        for earlier in everything
        if all(earlier.config.get(name) == asked[name] for name in ("model", "batch_size", "sequence_length"))
    ]
    amount = ("files", "epochs", "max_train_examples")
    same = [each for each in shaped if all(each.config.get(name) == asked[name] for name in amount)]
    if found := known.closest([each for each in same if each.measured("seconds") > 0], gpu=uses_gpu):
        return _Time(Range.of(each.measured("seconds") for each in found), _where(found))
    examples, counted = _train_examples(config, asked, everything)
    if examples is None:
        return _Time(None, "unknown: the number of training examples isn't known yet")
    sequences = examples * config.epochs
    rated = [each for each in shaped if each.measured("sequences_per_s") > 0]
    if found := known.closest(rated, gpu=uses_gpu):
        rates = Range.of(each.measured("sequences_per_s") for each in found)
        return _at_rate(sequences, rates, f"{_where(found)}; {counted}")
    for rate in baselines.FINE_TUNING:
        is_shape = rate.fits(config.model, uses_gpu, config.batch_size) and config.sequence_length == 128
        if is_shape and config.task.startswith("MNLI"):  # pairs of other lengths have other rates
            return _at_rate(sequences, rate.sequences_per_s, f"{rate.basis}; {counted}")
    return _Time(None, _nothing("fine-tuning", uses_gpu))


def _train_examples(config: EvaluateConfig, asked: Any, earlier: Sequence[Earlier]) -> tuple[int | None, str]:
    """How many examples one epoch has, and who says so."""
    most = config.max_train_examples
    of_file = [each for each in earlier if each.config.get("files", {}).get("train") == asked["files"]["train"]]
    same = [each for each in of_file if each.config.get("max_train_examples") == most]
    if same:
        return int(same[0].result("train_examples")), "as many examples as before"
    if lines := precedents.lines(config.files.train):
        count, counted = lines - 1, "one example a line of the training file"  # less its header
    elif config.task.startswith("MNLI"):
        count, counted = baselines.MNLI_TRAIN, f"MNLI's {baselines.MNLI_TRAIN:,} training pairs"
    else:
        return most, "as many examples as the experiment allows"
    return (count, counted) if most is None or most >= count else (most, "as many examples as the experiment allows")


def _corpus(config: CorpusConfig, known: Precedents) -> _Time:
    words, counted = _words(config, known)
    asked = config.derivation().resolved["corpus"]
    shape = ("language", "duplicates", "sequence_length", "max_predictions", "whole_word_masking", "compression")
    alike = [
        each
        for each in known.earlier(config.STAGE)
        if all(each.config["corpus"].get(name) == asked[name] for name in shape) and _words_per_s(each) > 0
    ]
    if words is None:
        return _Time(None, f"unknown: {counted}")
    if found := known.closest(alike, gpu=False):
        workers = sorted({int(each.measured("workers")) for each in found})
        basis = f"{_where(found)}, {' or '.join(map(str, workers))} workers; {counted}"
        return _at_rate(words, Range.of(map(_words_per_s, found)), basis)
    if (config.corpus.duplicates, config.corpus.sequence_length) == (2, 128):
        return _at_rate(words, baselines.CORPUS_WORDS_PER_S, f"{baselines.CORPUS_BASIS}; {counted}")
    return _Time(None, _nothing("corpus", False))


def _words_per_s(earlier: Earlier) -> float:
    """Of one pod: pods share the work, so its attempt's own seconds tell little."""
    if seconds := earlier.measured("worker_s"):
        return earlier.result("words") * earlier.measured("workers") / seconds
    return earlier.measured("words_per_s")


def _corpus_size(config: CorpusConfig, known: Precedents) -> _Size:
    words, counted = _words(config, known)
    if words is None:
        return _Size(None, f"unknown: {counted}")
    asked = config.derivation().resolved["corpus"]
    shape = ("language", "sequence_length", "max_predictions", "compression")
    for each in known.earlier(config.STAGE):
        corpus, counts = each.config["corpus"], each.result("words") * each.config["corpus"].get("duplicates", 0)
        if counts and all(corpus.get(name) == asked[name] for name in shape):
            size = each.size / counts * words * config.corpus.duplicates
            return _Size(size, f"measured: corpus {each.manifest.key[:12]}, by its words and duplicates; {counted}")
    if config.corpus.sequence_length == 128 and config.corpus.compression == "none":
        examples = words * config.corpus.duplicates * baselines.EXAMPLES_A_WORD[config.corpus.language]
        return _Size(examples * baselines.BYTES_AN_EXAMPLE, f"{baselines.SIZE_BASIS}; {counted}")
    return _Size(None, "unknown: no corpus of this shape is in the store, and no table has it")


def _words(config: CorpusConfig, known: Precedents) -> tuple[float | None, str]:
    """Words of a dump's prose, and who says so."""
    dump = config.corpus.dump
    for each in known.earlier(config.STAGE):
        if each.config["corpus"].get("dump") == dump.identity:
            words = each.result("words")
            return words, f"{words:,.0f} words, counted in corpus {each.manifest.key[:12]}"
    if match := baselines.WIKIPEDIA.fullmatch(dump.name):
        words = baselines.WORDS[match["language"]]
        return words, f"{words:,.0f} words, what {match['language']}wiki-20200301 had; a newer dump has more"
    return None, f"nobody has counted the words of {dump.name} yet"


def _alike(found: Sequence[Earlier], what: str, otherwise: Range) -> _Time:
    """As long as others of the kind took: it depends little on the experiment."""
    times = [each.measured("seconds") for each in found if each.measured("seconds") > 0]
    if not times:
        return _Time(otherwise, "`make demo` and `make demo-real` on two virtual x86-64 cores")
    return _Time(Range.of(times), f"measured: {what} in this store, {len(times)} of them")


def _at_rate(amount: float, rates: Range, basis: str) -> _Time:
    return _Time(Range(amount / rates.high, amount / rates.low), basis)


def _where(found: Sequence[Earlier]) -> str:
    newest = found[0].manifest
    places = sorted({f"{'a GPU beside ' if each.is_gpu else ''}{each.processor}" for each in found})
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"measured: {newest.stage} {newest.key[:12]}{more}, on {' or '.join(places)}"


def _nothing(what: str, uses_gpu: bool) -> str:
    device = "with a GPU" if uses_gpu else "without a GPU"
    return f"unknown: no {what} of this shape was made {device} in this store, and no table has one"


def _rolling_peak(plan: Plan, known: Precedents) -> float | None:
    """A run trains one round at a time; its new checkpoint is there before the old one goes: two of them."""
    largest: dict[str, int] = {}
    for task in plan.missing:
        for config in task.configs:
            if isinstance(config, PretrainConfig):
                if known.pieces is None:
                    return None
                size = sizes.checkpoint_bytes(config.model, known.pieces, next_sentence=config.next_sentence)
                largest[config.label.run] = max(size, largest.get(config.label.run, 0))
    return 2.0 * sum(largest.values())


def _hours(tasks: Iterable[TaskEstimate]) -> Range:
    return sum((task.seconds for task in tasks if task.seconds), Range(0, 0)) * (1 / 3600)
