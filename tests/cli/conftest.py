"""The command as its users run it: a process of its own."""

import pytest

from support import forks


@pytest.fixture
def bertline(tmp_path):
    """Run `bertline …` in an empty folder."""

    def run(*arguments, timeout=120, **environment):
        return forks.run(arguments, cwd=tmp_path, timeout=timeout, **environment)

    return run
