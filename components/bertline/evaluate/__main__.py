"""`python -m bertline.evaluate`: see `bertline.stage.entrypoints`."""

import sys

from bertline.evaluate.config import EvaluateConfig
from bertline.evaluate.stage import run
from bertline.stage.entrypoints import main

if __name__ == "__main__":
    sys.exit(main(EvaluateConfig, run))
