"""`bertline corpus`, `bertline vocabulary` and `bertline corpus preview`: the corpus as a tool by itself."""

import bz2
import hashlib
import json
import signal
import time

import numpy as np
import pytest
import yaml

import bertline_pipelines
from bertline.errors import ExitCode
from bertline.examples import shards
from bertline.experiment import specs
from bertline_pipelines.planning import unrolling
from support import forks
from support.web_servers import WebServer, file

DUMP = "sample:pydoc-topics"
FEW = ("--shards", 4, "--duplicates", 1)


@pytest.fixture(autouse=True)
def one_worker(monkeypatch):
    monkeypatch.setenv("BERTLINE_WORKERS", "1")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    made = forks.run(["vocabulary", DUMP, "--size", 1000, "--out", "vocab.txt"], cwd=folder)
    assert made.returncode == 0, made.stderr
    assert f"Next:  bertline corpus {DUMP} --vocabulary vocab.txt --lower-case --out corpus" in made.stdout
    return folder / "vocab.txt"


def contents(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "manifest.json"  # has seconds
    }


def test_a_vocabulary_by_itself_is_found_again_and_never_replaced(vocabulary, bertline):
    pieces = vocabulary.read_text().splitlines()
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(pieces) == 1000
    assert sorted(path.name for path in vocabulary.parent.iterdir()) == ["vocab.txt", "vocab.txt.manifest.json"]
    again = bertline("vocabulary", DUMP, "--size", 1000, "--out", vocabulary, "--json")
    document = json.loads(again.stdout)
    assert document["is_new"] is False
    assert document["results"]["pieces"] == 1000
    other = bertline("vocabulary", DUMP, "--size", 900, "--out", vocabulary)
    assert other.returncode == ExitCode.USER_ERROR
    assert "exists" in other.stderr
    assert vocabulary.read_text().splitlines() == pieces


def test_a_corpus_by_itself_is_what_an_experiment_would_have(vocabulary, bertline, tmp_path):
    made = bertline("corpus", DUMP, "--vocabulary", vocabulary, "--out", "out", *FEW, "--json")
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    folder = tmp_path / "out"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert document["key"] == manifest["key"]
    files = {file["path"]: file["sha256"] for file in manifest["files"]}
    assert contents(folder).items() >= files.items()
    assert set(contents(folder)) == {*files, "vocab.txt", "derivation.json"}
    assert (folder / "vocab.txt").read_text() == vocabulary.read_text()
    examples = sum(len(shards.read(folder / path).input_ids) for path in files if path.startswith("train-"))
    assert examples == document["results"]["examples"] > 100

    experiment = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
    experiment["corpus"] = {"dump": DUMP, "shards": 4, "duplicates": 1}
    experiment["vocabulary"] = {"file": str(vocabulary), "lower_case": True}
    for model in experiment["models"].values():
        model["max_positions"] = 128
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(experiment))
    (node,) = unrolling.build(specs.load(tmp_path / "my.yaml")).select("corpus")
    assert node.key == document["key"]

    again = bertline("corpus", DUMP, "--vocabulary", vocabulary, "--out", "out", *FEW)
    assert "there already" in again.stdout
    assert "Next:  python -c" in again.stdout
    other = bertline("corpus", DUMP, "--vocabulary", vocabulary, "--out", "out", "--shards", 4, "--duplicates", 2)
    assert other.returncode == ExitCode.USER_ERROR
    assert "duplicates is 1 there and 2 here" in other.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_corpus_that_was_ended_goes_on_and_has_the_same_bytes(number, vocabulary, bertline, tmp_path):
    arguments = ["corpus", DUMP, "--vocabulary", vocabulary, "--shards", 64, "--duplicates", 3]
    assert bertline(*arguments, "--out", "whole").returncode == 0
    process = forks.Process([*arguments, "--out", "ended"], cwd=tmp_path)
    with process.stdout, process.stderr:
        try:
            deadline = time.monotonic() + 60
            while len(done := list((tmp_path / "ended").rglob("rolling/reduce/*.json"))) < 3:
                assert process.poll() is None, "it was too fast to be ended"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(number)
            code = process.wait(60)
            said = process.stderr.read()
        finally:
            process.kill()
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: ExitCode.PREEMPTED, signal.SIGINT: ExitCode.INTERRUPTED}[number]
    if number != signal.SIGKILL:
        assert "run the same command again" in said
    before = {path.name: path.stat().st_mtime_ns for path in done}
    went_on = bertline(*arguments, "--out", "ended", "--workers", 2)
    assert went_on.returncode == 0, went_on.stderr
    measured = json.loads((tmp_path / "ended" / "manifest.json").read_text())["measurements"]
    assert measured["workers"] == 2
    assert measured["units"] <= 65 - len(before), "64 shards and one that is held out"
    assert contents(tmp_path / "ended") == contents(tmp_path / "whole")
    assert not (tmp_path / "ended" / "unfinished").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sequence-length", 1000], "--sequence-length: expected at most 512, found 1000"),
        (["--max-predictions", 128], "--max-predictions"),
        (["--max-ngram", 3], "--max-ngram"),
        (["--language", "xx"], "--language"),
        (["--templates", "none.yaml"], "none.yaml"),
        (["--templates", "bad.yaml"], "bad.yaml, line 2"),
    ],
)
def test_a_wrong_option_is_one_clear_sentence(options, said, vocabulary, bertline, tmp_path):
    (tmp_path / "bad.yaml").write_text('"{1}": [a]\n"@nothing": [b]\n')
    result = bertline("corpus", DUMP, "--vocabulary", vocabulary, "--out", "out", *options)
    assert result.returncode == ExitCode.USER_ERROR
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_in_it_is_left_alone(vocabulary, bertline, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "vocab.txt").write_text("mine")
    result = bertline("corpus", DUMP, "--vocabulary", vocabulary, "--out", "out")
    assert result.returncode == ExitCode.USER_ERROR
    assert "isn't empty" in result.stderr
    assert (tmp_path / "out" / "vocab.txt").read_text() == "mine"


def test_a_vocabulary_of_another_language_is_refused_before_any_work(vocabulary, bertline, tmp_path):
    page = "<page><title>A{0}</title><ns>0</ns><id>{0}</id><revision><text>{1}</text></revision></page>"
    pages = "".join(page.format(number, "Дождь идёт в горах. " * 20) for number in range(1, 30))
    (tmp_path / "ru.xml").write_text(f"<mediawiki>{pages}</mediawiki>")
    result = bertline("corpus", "ru.xml", "--vocabulary", vocabulary, "--language", "ru", "--out", "out")
    assert result.returncode == ExitCode.USER_ERROR
    assert "[UNK]" in result.stderr
    assert not (tmp_path / "out").exists()

    experiment = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
    experiment["corpus"] = {"dump": "ru.xml", "language": "ru"}
    experiment["vocabulary"] = {"file": str(vocabulary), "lower_case": True}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(experiment))
    valid = bertline("validate", "my.yaml")
    assert valid.returncode == ExitCode.USER_ERROR
    assert "vocabulary.file" in valid.stderr
    assert "[UNK]" in valid.stderr


@pytest.fixture
def experiment(tmp_path):
    """A dump whose end is cut off, and an experiment on it."""
    text = (
        "'''Rain''' falls on the [[plain]]{{far|x}}. It is {{far|5}} away. It rained the whole day in the mountains. "
    )
    page = "<page><title>Rain {0}</title><ns>0</ns><id>{0}</id><revision><text>{1}</text></revision></page>"
    pages = "".join(page.format(number, "{{Box|a=b}}\n" + text * 4) for number in range(1, 400))
    packed = bz2.compress(f"<mediawiki>{pages}</mediawiki>".encode())
    (tmp_path / "dump.xml.bz2").write_bytes(packed)
    document = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
    document["corpus"] = {"dump": "dump.xml.bz2", "sequence_length": 32, "max_predictions": 5}
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_preview_has_every_step(experiment, bertline):
    result = bertline("corpus", "preview", experiment, "--documents", 2, "--json")
    assert result.returncode == 0, result.stderr
    preview = json.loads(result.stdout)
    assert len(preview["articles"]) == 2
    assert preview["looked_at"] == 200
    assert preview["dropped_templates"] == {"far": 800}
    first = preview["articles"][0]
    assert first["wikitext"].startswith("{{Box")
    assert first["prose"][0].startswith("Rain falls on the plain. It rained")
    assert first["sentences"][:2] == ["Rain falls on the plain.", "It rained the whole day in the mountains."]
    assert "".join(first["pieces"][0]).replace("##", "") == "rainfallsontheplain."
    example = first["example"]
    assert example["pieces"][0] == "[CLS]"
    assert 1 <= len(example["masked"]) <= 5
    for masked in example["masked"]:
        assert example["pieces"][masked["position"]] == masked["shown"]


@pytest.mark.parametrize(("columns", "side_by_side"), [(80, False), (140, True)])
def test_a_preview_fits_the_terminal(columns, side_by_side, experiment, bertline):
    result = bertline("corpus", "preview", experiment, "--documents", 1, COLUMNS=str(columns))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert any("wikitext" in line and "prose" in line for line in lines) is side_by_side
    assert any("800  far" in line for line in lines)


def test_a_preview_reads_the_beginning_of_a_dump_that_is_elsewhere(experiment, bertline, tmp_path):
    content = (tmp_path / "dump.xml.bz2").read_bytes()
    rest = 16 * bz2.compress(bytes(np.random.default_rng(1).integers(97, 123, 4 << 20, np.uint8)), 1)
    server = WebServer()
    try:
        server.answers["/dump.xml.bz2"] = [file(content + rest, ETag='"1"')]
        url = f"{server.url}/dump.xml.bz2"
        result = bertline("corpus", "preview", experiment, "--set", f"corpus.dump={url}", "--json", "--documents", 1)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["articles"][0]["title"] == "Rain 1"
        sent = sum(server.sent.values())
        assert sent < len(content + rest) / 4
    finally:
        server.close()
