"""Whatever is damaged in the store is found and named."""

import json
import random
from pathlib import Path

import pytest

from bertline.errors import DamagedError
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, realize, require
from support.number_builds import ASKED, never


def test_a_flipped_byte_is_found_and_named(made: Realization, store: ObjectStore, tmp_path: Path) -> None:
    name = f"{made.prefix}deep/numbers.txt"
    store.put(name, b"1 2 4\n")
    (damage,) = made.verify()
    assert name in damage
    assert "is damaged" in damage
    with pytest.raises(DamagedError, match=r"deep/numbers\.txt is damaged: its manifest says 6 bytes"):
        made.stage(["empty", "deep/numbers.txt"], tmp_path / "staged")


def test_truncated_and_missing_payload_is_found_and_named(
    made: Realization, store: ObjectStore, tmp_path: Path
) -> None:
    name = f"{made.prefix}deep/numbers.txt"
    store.put(name, b"1 2")
    assert "found 3 bytes" in made.verify()[0]
    store.delete(name)
    assert made.verify() == [f"{store.uri}/{name} is missing, though its manifest lists it"]
    with pytest.raises(DamagedError, match=r"deep/numbers\.txt is missing"):
        made.stage(["deep/numbers.txt"], tmp_path / "staged")
    with pytest.raises(DamagedError, match="lists no file nothing"):
        made.stage(["nothing"], tmp_path / "staged")


def test_a_derivation_that_is_not_the_keys_is_damage(made: Realization, store: ObjectStore) -> None:
    name = f"{made.prefix}derivation.json"
    store.put(name, store.get(name)[0].replace(b'"n": 3', b'"n": 4'))
    assert "derivation.json is damaged: its key would be" in made.verify()[0]
    store.put(name, b"{")
    assert "derivation.json is damaged" in made.verify()[0]
    store.delete(name)
    assert "derivation.json is missing" in made.verify()[0]


def test_a_manifest_is_never_half_believed(made: Realization, store: ObjectStore) -> None:
    name = f"{made.prefix}manifest.json"
    content = store.get(name)[0]
    document = json.loads(content)
    outside = document | {"files": [{"path": "../../../etc/passwd", "size": 1, "sha256": "0" * 64}]}
    for garbage in (
        b"",
        content[: len(content) // 2],
        b"[]",
        json.dumps(document | {"more": 1}).encode(),
        json.dumps(document | {"key": "0" * 64}).encode(),
        json.dumps(outside).encode(),
    ):
        store.put(name, garbage)
        with pytest.raises(DamagedError, match=r"manifest\.json is"):
            realize(store, ASKED, never)


def test_any_flipped_bit_of_a_payload_is_found(directory: ObjectStore) -> None:
    def big(work: Build) -> Outcome:
        (work.payload / "big").write_bytes(random.Random(1).randbytes(5000))
        return Outcome({}, {})

    made = realize(directory, ASKED, big)
    name = f"{made.prefix}big"
    content = directory.get(name)[0]
    for position in random.Random(2).sample(range(5000), 20):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        directory.put(name, bytes(flipped))
        assert len(made.verify()) == 1


def test_a_missing_input_says_what_to_do(store: ObjectStore) -> None:
    with pytest.raises(DamagedError, match="this task needs that corpus; run the experiment again"):
        require(store, "corpus", "0" * 64)
