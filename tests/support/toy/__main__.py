import sys

from bertline.toy.config import ToyConfig
from bertline.toy.stage import run

from bertline.stage.entrypoints import main

if __name__ == "__main__":
    sys.exit(main(ToyConfig, run))
