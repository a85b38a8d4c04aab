"""`python held.py STAGE ARGUMENT…`: a component whose process stays when all is done, until its standard input ends.

So that its last values can be scraped at leisure. What it prints and where it serves is the component's own.
"""

import importlib
import sys

from bertline.stage import entrypoints

if __name__ == "__main__":
    stage, *arguments = sys.argv[1:]
    config = getattr(importlib.import_module(f"bertline.{stage}.config"), f"{stage.capitalize()}Config")
    run = importlib.import_module(f"bertline.{stage}.stage").run
    entrypoints.at_end(lambda _: sys.stdin.read())  # what is put there later comes before it
    sys.exit(entrypoints.main(config, run, arguments))
