from pathlib import Path

import pytest

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
