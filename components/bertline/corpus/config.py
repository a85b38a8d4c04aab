"""What the corpus stage is asked for."""

from typing import ClassVar

from bertline.experiments import Corpus
from bertline.stages import StageConfig
from bertline.store.derivations import Key


class CorpusConfig(StageConfig):
    """A dump, cut into examples with a vocabulary.

    Payload: `train-00000-of-00256.tfrecord` … and `held-out-00000-of-00256.tfrecord` … (empty ones are left out).
    Results: `pages`, `articles`, `documents` (with at least one sentence), `words`, `sentences`, `tokens`, `examples`,
    `held_out_documents`, `held_out_examples`, `skipped_bytes`, and `shards`: {path: examples}.

    ALGORITHM_VERSION stands for all that decides the bytes: `wikipedia` (extraction and sentences), `wordpiece`,
    `corpus.instances` with its `randomness`, `segments` and `masks`, `corpus.buckets`, `shards` and `records`.
    """

    STAGE: ClassVar[str] = "corpus"
    ALGORITHM_VERSION: ClassVar[int] = 1
    INPUTS: ClassVar[tuple[str, ...]] = ("vocabulary",)

    corpus: Corpus
    lower_case: bool
    vocabulary: Key
