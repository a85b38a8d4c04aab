"""A result as small as they get: what is asked for, and how it is made."""

from bertline.store.derivations import Derivation
from bertline.store.realizations import Build, Outcome

ASKED = Derivation("numbers", 1, {"n": 3})  # as tests/store/actors.py has it


def build(work: Build) -> Outcome:
    (work.payload / "deep").mkdir()
    (work.payload / "deep/numbers.txt").write_text("1 2 3\n")
    (work.payload / "empty").touch()
    return Outcome({"sum": 6}, {"seconds": 0.1})


def never(work: Build) -> Outcome:
    raise AssertionError("built again")
