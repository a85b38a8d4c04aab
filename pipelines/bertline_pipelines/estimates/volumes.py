"""Amounts: words of a dump, bytes that stay in the store, bytes that pods stage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bertline.corpus.config import CorpusConfig
from bertline.experiment.corpora import Corpus
from bertline.models import sizes
from bertline.pretrain.config import PretrainConfig
from bertline.sources.files import Source
from bertline.stage.configs import StageConfig
from bertline_pipelines.estimates import baselines, earlier_runs
from bertline_pipelines.estimates.baselines import NOTHING, Range
from bertline_pipelines.estimates.devices import Device
from bertline_pipelines.estimates.earlier_runs import EarlierRuns
from bertline_pipelines.planning.plans import Plan


@dataclass(frozen=True)
class Volume:
    """Bytes and their basis."""

    written: float | None
    """None means not known."""
    basis: str


NEGLIGIBLE = Volume(0.0, "a few MB at most")


def of(config: StageConfig, known: EarlierRuns) -> Volume:
    """Bytes of a result in the store."""
    match config:
        case PretrainConfig():
            if known.pieces is None:
                return Volume(None, "unknown: the vocabulary's size isn't known yet")
            size = sizes.checkpoint_bytes(config.model, known.pieces, next_sentence=config.next_sentence)
            return Volume(size, f"weights and two AdamW slots in float32, {known.pieces:,} pieces")
        case CorpusConfig():
            return corpus(config, known)
    return NEGLIGIBLE


def corpus(config: CorpusConfig, known: EarlierRuns) -> Volume:
    """Bytes of all shards of a corpus."""
    amount, counted = words(config.corpus.dump, known)
    if amount is None:
        return Volume(None, f"unknown: {counted}")
    asked = config.derivation().resolved["corpus"]
    shape = ("language", "sequence_length", "max_predictions", "next_sentence", "compression")
    for each in known.earlier(config.STAGE):
        counts = each.result("words") * each.config["corpus"].get("duplicates", 0)
        if counts and has_shape(each.config, asked, shape):
            size = each.size / counts * amount.high * config.corpus.duplicates
            return Volume(size, f"measured: corpus {each.manifest.key[:12]}, by its words and duplicates; {counted}")
    if config.corpus.compression == "none":
        # With shorter examples there are more of them, so the sum of bytes stays the same.
        examples = amount.high * config.corpus.duplicates * baselines.EXAMPLES_A_WORD[config.corpus.language]
        return Volume(examples * baselines.BYTES_AN_EXAMPLE, f"{baselines.SIZE_BASIS}; {counted}")
    return Volume(None, "unknown: no compressed corpus of this shape is in the store, and neither do the tables")


def has_shape(config: Mapping[str, Any], asked: Mapping[str, Any], shape: Iterable[str]) -> bool:
    """Whether an earlier corpus has these options; an option that is missing there had its default."""
    there, fields = config["corpus"], Corpus.model_fields
    return all(there.get(name, fields[name].default) == asked[name] for name in shape)


def words(dump: Source, known: EarlierRuns) -> tuple[Range | None, str]:
    """Words of a dump's prose, and the basis of this number."""
    for each in known.earlier("corpus"):
        if each.config["corpus"].get("dump") == dump.identity:
            count = each.result("words")
            return Range(count, count), f"{count:,.0f} words, counted in corpus {each.manifest.key[:12]}"
    if match := baselines.WIKIPEDIA.fullmatch(dump.name):
        count = baselines.WORDS[match["language"]]
        return Range(count, count), f"{count:,.0f} words, as in {match['language']}wiki-20200301; newer dumps have more"
    if size := earlier_runs.size(dump):
        rates = baselines.WORDS_A_BYTE["sample" if dump.is_sample else "dump"]
        return rates * size, f"{rates.low:g} to {rates.high:g} words a byte of {dump.name}"
    return None, f"the words of {dump.name} haven't been counted yet"


def staging(known: EarlierRuns, device: Device) -> Range:
    """Seconds that a pod needs to fetch the corpus from a bucket; on this machine it is read in place."""
    if not device.is_pod:
        return NOTHING
    size = corpus(known.plan.graph.configs(CorpusConfig)[0], known).written
    return Range(size or 0, size or 0) / baselines.STAGING_BYTES_PER_S


def rolling_peak(plan: Plan, known: EarlierRuns) -> float | None:
    """Bytes of rolling checkpoints: two for each run, because the new one is written before the old one is deleted."""
    largest: dict[str, int] = {}
    for task in plan.missing:
        for config in task.configs:
            if isinstance(config, PretrainConfig):
                if known.pieces is None:
                    return None
                size = sizes.checkpoint_bytes(config.model, known.pieces, next_sentence=config.next_sentence)
                largest[config.label.run] = max(size, largest.get(config.label.run, 0))
    return 2.0 * sum(largest.values())
