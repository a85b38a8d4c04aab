"""`python -m bertline.evaluate`: see `bertline.entrypoints`."""

import sys

from bertline.entrypoints import main
from bertline.evaluate.config import EvaluateConfig
from bertline.evaluate.stage import run

if __name__ == "__main__":
    sys.exit(main(EvaluateConfig, run))
