"""The configurations of the corpus stage: the whole corpus, and parts of the work."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from bertline.experiment.corpora import Corpus
from bertline.stage.configs import StageConfig
from bertline.store.derivations import Key


class CorpusConfig(StageConfig):
    """A dump, cut into examples with a vocabulary.

    Payload: `train-00000-of-00256.tfrecord` … and `held-out-00000-of-00256.tfrecord` … (empty ones are left out).
    Results: `pages`, `articles`, `documents` (with at least one sentence), `words`, `sentences`, `tokens`, `examples`,
    `held_out_documents`, `held_out_examples`, `skipped_bytes`, `unknown` (tokens that are [UNK]), `repeated_documents`
    (replaced by a later page of the same id; `words`, `sentences` and `tokens` count them), `dropped_templates`: {name:
    number of unknown ones in sentences}, the 50 most frequent, and `shards`: {path: examples}.
    Measurements: `worker_s` is the sum of the workers' seconds for all units, over all pods and attempts;
    `words_per_worker_s` is computed from it. `seconds` (wall-clock), `workers` and `units` (how many it did itself) are
    those of the attempt that finished. `downloads`: {URL of the dump: which state of it, see `corpus.inputs`}.

    Raise ALGORITHM_VERSION if the bytes change; they depend on `wikipedia`, `text`, `corpus.instances` with its
    `randomness`, `segments` and `masks`, `corpus.buckets`, `examples.shards` and `examples.tfrecords`.
    """

    STAGE: ClassVar[str] = "corpus"
    ALGORITHM_VERSION: ClassVar[int] = 3
    INPUTS: ClassVar[tuple[str, ...]] = ("vocabulary",)

    corpus: Corpus
    lower_case: bool
    vocabulary: Key


class CorpusPartConfig(StageConfig):
    """A share of the work on a corpus, for a separate pod; see `corpus.parts`.

    No payload, no results. Measurements: `seconds`, `workers`, `units` and their `worker_s`, of the attempt that
    finished.
    """

    STAGE: ClassVar[str] = "corpus-part"
    ALGORITHM_VERSION: ClassVar[int] = CorpusConfig.ALGORITHM_VERSION
    INPUTS: ClassVar[tuple[str, ...]] = ()

    corpus: CorpusConfig
    """The corpus."""
    work: Literal["map", "reduce"]
    """Map (slices) or reduce (buckets). Parts that reduce run after all parts that map."""
    index: int = Field(ge=0)
    """Number of this part, from 0; its units are `index`, `index + count`, …"""
    count: int = Field(ge=1)
    """Number of parts that share this work."""

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if self.index >= self.count:
            raise ValueError(f"index {self.index} must be below count {self.count}: parts are counted from 0")
        return self
