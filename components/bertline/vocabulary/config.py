"""The configuration of the vocabulary stage."""

from typing import ClassVar

from bertline.experiment.corpora import Articles
from bertline.experiment.specs import Vocabulary
from bertline.stage.configs import StageConfig


class VocabularyConfig(StageConfig):
    """A vocabulary from a file, or trained on articles.

    Payload: `vocab.txt`. Results: `pieces`, `sha256`, and if trained `characters` (read) and `articles`.

    Raise ALGORITHM_VERSION if `vocabulary.training`, `wikipedia` or `text` change the result.
    """

    STAGE: ClassVar[str] = "vocabulary"
    ALGORITHM_VERSION: ClassVar[int] = 3
    INPUTS: ClassVar[tuple[str, ...]] = ()

    vocabulary: Vocabulary
    articles: Articles | None = None
    """The articles to train on; None if the vocabulary is a file."""
