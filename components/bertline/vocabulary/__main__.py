"""`python -m bertline.vocabulary`: the stage by hand, or as an image's entry point."""

import sys

from bertline.stage.entrypoints import main
from bertline.vocabulary.config import VocabularyConfig
from bertline.vocabulary.stage import run

if __name__ == "__main__":
    sys.exit(main(VocabularyConfig, run))
