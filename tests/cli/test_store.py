"""`bertline store`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bertline.errors import ExitCode, UserError
from bertline.store import references
from bertline.store.backends import connect
from bertline.store.derivations import Derivation
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, realize
from bertline_cli import store as commands
from support.terminals import on_a_terminal

KEYS = [Derivation("numbers", 1, {"n": n}).key for n in range(40)]


def _build(work: Build) -> Outcome:
    (work.payload / "big.bin").write_bytes(b"x" * 1_500_000)
    return Outcome({"accuracy": 0.83}, {"seconds": 1.5})


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """One result that an experiment needs, one that none needs, an unfinished one."""
    store = connect(str(tmp_path / "store"))
    for n in range(2):
        realize(store, Derivation("numbers", 1, {"n": n}), _build)
    store.put(f"objects/numbers/{KEYS[2]}/half.txt", b"12345")
    references.write(store, "small", {"key": KEYS[0]})
    return store


@pytest.fixture
def run(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BERTLINE_STORE", store.uri)

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(commands.app, list(arguments))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_ls_lists_plain_lines_in_a_pipe(run: Any) -> None:
    header, *rows, total = run("ls").stdout.splitlines()
    assert header.split("\t") == ["stage", "key", "state", "files", "size", "modified (UTC)", "experiments"]
    assert len(rows) == 3
    row = next(row.split("\t") for row in rows if KEYS[0][:12] in row)
    assert row[0] == "numbers"
    assert row[2:5] == ["complete", "4", "1.5 MB"]
    assert row[6] == "small"
    assert "unfinished" in next(row for row in rows if KEYS[2][:12] in row)
    assert total.startswith("3 results, 3.0 MB")


def test_ls_as_json(run: Any, store: ObjectStore) -> None:
    document = json.loads(run("ls", "--json").stdout)
    assert [place["key"] for place in document] == sorted(KEYS[:3])
    assert {place["state"] for place in document} == {"complete", "unfinished"}


def test_the_option_beats_the_environment_beats_the_default(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "3 results" in run("ls").stdout
    with pytest.raises(UserError, match=f"no store at file://{tmp_path}/empty"):
        run("ls", "--store", f"{tmp_path}/empty")
    monkeypatch.delenv("BERTLINE_STORE")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"no store at file://{tmp_path}/out/store"):
        run("ls")


@pytest.mark.parametrize("command", ["ls", "ls --json", "show 3f", "verify", "gc", "gc --delete"])
@pytest.mark.parametrize("content", [None, "holiday/photo.jpg"], ids=["missing", "something else"])
def test_a_mistyped_path_is_no_store(command: str, content: str | None, run: Any, tmp_path: Path) -> None:
    if content:
        connect(str(tmp_path / "stroe")).put(content, b"")
    with pytest.raises(UserError, match=r"no store at .*/stroe"):
        run(*command.split(), "--store", f"{tmp_path}/stroe")


def test_a_row_takes_one_line_of_80_columns_on_a_terminal(store: ObjectStore) -> None:
    references.write(store, "an-experiment-with-quite-a-long-name-400", {"key": KEYS[1]})
    shown = on_a_terminal(80, "store", "ls", "--store", store.uri)
    assert len(shown) == 1 + 3 + 1
    assert max(map(len, shown[:-1])) <= 80
    assert any(KEYS[1][:12] in line and line.endswith("…") for line in shown)
    deleted = on_a_terminal(80, "store", "gc", "--older-than", "0", "--store", store.uri)
    assert max(map(len, deleted[:-1])) <= 80  # but for the command to copy
    assert f"objects/numbers/{KEYS[2][:12]} " in "\n".join(deleted)


def test_show_takes_the_first_digits(run: Any) -> None:
    text = run("show", KEYS[0][:6]).stdout
    assert f"numbers {KEYS[0]}" in text
    assert "needed by: small" in text
    assert '"accuracy": 0.83' in text
    assert "big.bin\t1.5 MB\t" in text
    assert "finished; 2 events" in text
    document = json.loads(run("show", "--json", KEYS[0].upper()).stdout)
    assert document["derivation"]["config"] == {"n": 0}
    assert document["manifest"]["results"] == {"accuracy": 0.83}
    assert document["attempts"][0][0]["event"] == "start"


def test_show_of_an_unfinished_one(run: Any) -> None:
    assert "unfinished, 1 file, 5 B" in run("show", KEYS[2][:8]).stdout


def test_an_unknown_or_ambiguous_key_is_told(run: Any, store: ObjectStore) -> None:
    with pytest.raises(UserError, match=r"has no key that starts with 'xyz'; `bertline store ls`"):
        run("show", "xyz")
    for key in KEYS:
        store.put(f"objects/numbers/{key}/half.txt", b"")
    first = KEYS[0][0]
    same = [key for key in KEYS if key.startswith(first)]
    assert len(same) > 1
    with pytest.raises(UserError) as raised:
        run("show", first)
    assert f"{len(same)} keys start with it" in str(raised.value)
    assert all(key[:16] in str(raised.value) for key in same)


def test_verify_says_that_all_is_well(run: Any) -> None:
    result = run("verify")
    assert result.exit_code == 0
    assert "2 results, 3.0 MB: all bytes are intact; 1 unfinished, not checked" in result.stdout


def test_verify_finds_damage_and_names_it(run: Any, store: ObjectStore) -> None:
    name = f"objects/numbers/{KEYS[0]}/big.bin"
    store.put(name, b"x" * 1_499_999 + b"y")
    for arguments in ([], [KEYS[0][:6]], ["--json"]):
        result = run("verify", *arguments)
        assert result.exit_code == ExitCode.DAMAGED
        assert f"damaged: {store.uri}/{name} is damaged" in result.stderr
    assert len(json.loads(result.stdout)["damages"]) == 1
    assert run("verify", KEYS[1][:6]).exit_code == 0
    store.put(f"objects/numbers/{KEYS[1]}/manifest.json", b"{")
    assert "2 objects are damaged" in run("verify").stderr


def test_gc_shows_and_touches_nothing(run: Any, store: ObjectStore) -> None:
    before = list(store.list(""))
    assert "nothing to delete" in run("gc").stdout  # all of it is young
    header, *rows, total, command = run("gc", "--older-than", "0").stdout.splitlines()
    assert header == "place\tobjects\tsize\twhy"
    assert sorted(row.split("\t")[0].split("/")[2] for row in rows) == sorted(KEYS[1:3])
    assert total.startswith("could be deleted: 2 places, 5 objects, 1.5 MB")
    assert command.endswith(f"bertline store gc --store {store.uri} --older-than 0 --delete")
    assert list(store.list("")) == before


def test_gc_deletes_what_it_showed(run: Any, store: ObjectStore) -> None:
    shown = json.loads(run("gc", "--older-than", "0", "--json").stdout)
    assert shown["deleted"] == []
    deleted = json.loads(run("gc", "--older-than", "0", "--delete", "--json").stdout)
    assert deleted["deleted"] == [item["place"] for item in shown["garbage"]]
    assert [item["key"] for item in json.loads(run("ls", "--json").stdout)] == [KEYS[0]]
    assert "nothing to delete" in run("gc", "--older-than", "0", "--delete").stdout
    assert run("verify").exit_code == 0


def test_gc_takes_superseded_results_only_when_told(run: Any, store: ObjectStore) -> None:
    references.write(store, "small", {"key": KEYS[1]})
    assert [item["place"] for item in json.loads(run("gc", "--older-than", "0", "--json").stdout)["garbage"]] == [
        f"objects/numbers/{KEYS[2]}/"
    ]
    text = run("gc", "--older-than", "0", "--superseded").stdout
    assert "only older versions" in text
    assert "--superseded" in text.splitlines()[-1]
    assert "deleted 2 places" in run("gc", "--older-than", "0", "--superseded", "--delete").stdout


def test_every_command_explains_itself() -> None:
    for name in ("ls", "show", "verify", "gc"):
        result = CliRunner().invoke(commands.app, [name, "--help"])
        assert result.exit_code == 0
        assert f"bertline store {name}" in result.stdout, "an example"


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, bertline_cli.store;"
        "heavy = {'pydantic', 'google.cloud.storage', 'psutil', 'rich.table', 'bertline.store.realizations'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""
