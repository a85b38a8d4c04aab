"""`python -m bertline.pretrain`: one round, by hand or as an image's entry point."""

import sys

from bertline.pretrain.config import PretrainConfig
from bertline.pretrain.stage import run
from bertline.stage.entrypoints import main

sys.exit(main(PretrainConfig, run))
