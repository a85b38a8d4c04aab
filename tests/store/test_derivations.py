"""Keys: the same for the same derivation, on every machine, and another one for any other."""

import os
import subprocess
import sys

import pytest

from bertline.store.derivations import Derivation


def test_the_key_does_not_depend_on_order_or_hash_seed() -> None:
    code = (
        "from bertline.store.derivations import Derivation;"
        "s = {'x', 'y', 'z', 'é'};"
        "print(Derivation('corpus', 2, {k: {'b': 1.5, 'a': [None, True, k]} for k in s}, {k: '0' * 64 for k in s}).key)"
    )
    keys = set()
    for seed in ("0", "1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        keys.add(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
    assert len(keys) == 1


def test_the_key_is_pinned() -> None:
    """Every store there is depends on it."""
    key = Derivation("corpus", 2, {"language": "é", "rate": 0.15}, {"vocabulary": "0" * 64}).key
    assert key == "f10a0981969289612e75e79c42b588dd1c02ef0bb60cd1e78bdcdac149d15578"


def test_each_component_changes_the_key() -> None:
    derivations = [
        Derivation("corpus", 1, {"n": 1}, {"a": "0" * 64}),
        Derivation("pretrain", 1, {"n": 1}, {"a": "0" * 64}),
        Derivation("corpus", 2, {"n": 1}, {"a": "0" * 64}),
        Derivation("corpus", 1, {"n": 2}, {"a": "0" * 64}),
        Derivation("corpus", 1, {"n": "1"}, {"a": "0" * 64}),
        Derivation("corpus", 1, {"m": 1}, {"a": "0" * 64}),
        Derivation("corpus", 1, {"n": 1}, {"a": "1" * 64}),
        Derivation("corpus", 1, {"n": 1}, {"b": "0" * 64}),
        Derivation("corpus", 1, {"n": 1}),
    ]
    assert len({derivation.key for derivation in derivations}) == len(derivations)


def test_what_is_not_json_has_no_key() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = Derivation("corpus", 1, {"rate": float("nan")}).key
