from pathlib import Path

import pytest

from support import tiny_evaluations

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def mnli() -> Path:
    folder = SHARED / "mnli"
    if not (folder / "dev_matched.tsv").is_file():
        pytest.skip("the shared MNLI files aren't here")
    return folder


@pytest.fixture(scope="session")
def uncased() -> Path:
    path = SHARED / "vocab" / "bert-base-uncased-vocab.txt"
    if not path.is_file():
        pytest.skip("the shared uncased vocabulary isn't here")
    return path


@pytest.fixture(autouse=True)
def _with_tensorflow(tensorflow: None) -> None:
    """All tests here share it."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tiny_evaluations.World:
    return tiny_evaluations.make_world(tmp_path_factory.mktemp("world"))
