"""`python -m bertline.corpus`: the stage by hand, or as an image's entry point."""

import sys

from bertline.corpus.config import CorpusConfig
from bertline.corpus.stage import run
from bertline.stage.entrypoints import main

if __name__ == "__main__":
    sys.exit(main(CorpusConfig, run))
