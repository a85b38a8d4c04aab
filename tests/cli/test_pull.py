"""`bertline pull`, against experiments that were finished without training."""

import json
import subprocess
import sys

import pytest
import typer
import yaml

from bertline.corpus.config import CorpusConfig
from bertline.errors import DamagedError, ExitCode
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment.specs import Experiment
from bertline.pretrain.config import PretrainConfig
from bertline.store import references
from bertline.vocabulary.config import VocabularyConfig
from bertline_cli import pull
from support.finished_experiments import DOCUMENT, Finished


@pytest.fixture
def finished(tmp_path):
    return Finished(str(tmp_path / "store"))


@pytest.fixture
def run(tmp_path, finished, capsys):
    """Pull from the store on disk; the document it prints."""

    def run(experiment="small", **options):
        pull.command(experiment, tmp_path / "here", finished.store.uri, as_json=True, **options)
        return json.loads(capsys.readouterr().out)

    return run


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


EVALUATION = ("manifest.json", "predictions.tsv")
RESULTS = sorted(
    [
        *("report.html", "report.md", "a.png", "results.json"),
        *("vocabulary/vocab.txt", "vocabulary/manifest.json", "corpus/manifest.json"),
        *(
            f"{model}/epoch-000{epoch}/{name}"
            for model in ("3L", "6L")
            for epoch in (1, 2)
            for name in (
                *("pretrain/manifest.json", "pretrain/metrics.json"),
                *(f"MNLI-m-seed{seed}/{file}" for seed in (1, 2) for file in EVALUATION),
            )
        ),
    ]
)


def test_results_lie_where_people_look_for_them(finished, run, tmp_path):
    finished.everything()
    document = run()
    assert files(tmp_path / "here") == RESULTS
    assert (tmp_path / "here/report.html").read_bytes() == b"<html>"
    manifest = finished.store.get(f"{finished.place(finished.graph.configs(CorpusConfig)[0])}manifest.json")[0]
    assert (tmp_path / "here/corpus/manifest.json").read_bytes() == manifest
    assert document["missing"] == document["kept"] == document["damages"] == []
    assert set(document["pulled"]) == {name for name in RESULTS if not name.endswith(("manifest.json", "results.json"))}


def test_one_document_has_every_accuracy_with_its_key_and_wall_clock(finished, run, tmp_path):
    finished.everything()
    run()
    results = json.loads((tmp_path / "here/results.json").read_text())
    assert results["complete"]
    assert [(row["model"], row["epoch"], row["seed"]) for row in results["accuracies"]] == [
        (model, epoch, seed) for model in ("3L", "6L") for epoch in (1, 2) for seed in (1, 2)
    ]
    last, evaluation = results["accuracies"][-1], finished.graph.configs(EvaluateConfig)[-1]
    assert last["task"] == "MNLI-m"
    assert (last["accuracy"], last["wall_clock_s"], last["step"]) == (0.68, 201.0, 20_000)
    assert (last["key"], last["milestone"]) == (evaluation.derivation().key, evaluation.milestone)
    assert [row["held_out"]["mlm_loss"] for row in results["milestones"]] == [3.0] * 4
    assert Experiment.model_validate(results["spec"]) == finished.graph.experiment


def test_what_is_large_comes_when_asked_for(finished, run, tmp_path):
    finished.everything()
    run(checkpoints=True, corpus=True)
    weights = [
        f"{model}/epoch-000{epoch}/pretrain/{name}.safetensors"
        for model in ("3L", "6L")
        for epoch in (1, 2)
        for name in ("encoder", "state")
    ]
    assert files(tmp_path / "here") == sorted([*RESULTS, *weights, "corpus/train-00000-of-00001.tfrecord"])
    name = f"{finished.place(finished.graph.configs(PretrainConfig)[0])}encoder.safetensors"
    assert (tmp_path / "here" / weights[0]).read_bytes() == finished.store.get(name)[0]


def test_a_second_time_only_what_is_wrong_or_new_is_downloaded(finished, run, tmp_path):
    finished.everything()
    first = run()
    here = tmp_path / "here"
    # GIVEN a file of another size, one of the same size, one that is gone, and what a killed download left
    wrong = ["vocabulary/vocab.txt", "3L/epoch-0001/MNLI-m-seed1/predictions.tsv", "a.png"]
    (here / wrong[0]).write_bytes(b"[PAD]")
    content = (here / wrong[1]).read_bytes()
    (here / wrong[1]).write_bytes(content[::-1])
    (here / wrong[2]).rename(here / ".a.png.part")
    second = run()
    assert sorted(second["pulled"]) == sorted(wrong)
    assert sorted(second["pulled"] + second["kept"]) == sorted(first["pulled"])
    assert second["bytes_pulled"] == len(b"[PAD]\n") + len(content) + len(b"PNG")
    assert files(here) == RESULTS
    assert (here / wrong[1]).read_bytes() == content
    third = run(checkpoints=True)
    assert all(name.endswith(".safetensors") for name in third["pulled"])


def test_what_isnt_done_is_listed_and_the_report_has_gaps(finished, run, tmp_path, capsys):
    finished.milestone(finished.graph.configs(PretrainConfig)[0])
    finished.evaluation(finished.graph.configs(EvaluateConfig)[0])
    document = run()
    assert {each["result"] for each in document["missing"]} == {
        *("vocabulary", "corpus", "3L/epoch-0001/MNLI-m-seed2", "3L/epoch-0002/pretrain"),
        *(f"3L/epoch-0002/MNLI-m-seed{seed}" for seed in (1, 2)),
        *(f"6L/epoch-000{n}/{what}" for n in (1, 2) for what in ("pretrain", "MNLI-m-seed1", "MNLI-m-seed2")),
    }
    assert document["missing"][0]["reason"] == "not begun"
    assert "not begun" in (tmp_path / "here/report.md").read_text()
    assert [row["seed"] for row in json.loads((tmp_path / "here/results.json").read_text())["accuracies"]] == [1]
    # for people: the count
    pull.command("small", tmp_path / "here", finished.store.uri)
    said = capsys.readouterr().out
    assert "2 of 14 results" in said
    assert "7 evaluate (not begun)" in said
    # AND when it is done the real report takes the place of the one with gaps
    finished.everything()
    assert run()["missing"] == []
    assert (tmp_path / "here/report.md").read_bytes() == b"#"


def test_damage_is_told_and_stops_nothing_else(finished, run, tmp_path, capsys):
    finished.everything()
    evaluation = finished.graph.configs(EvaluateConfig)[0]
    damaged = f"{finished.place(evaluation)}predictions.tsv"
    finished.store.put(damaged, b"x" * len(finished.store.get(damaged)[0]))
    finished.store.delete(f"{finished.place(finished.graph.configs(VocabularyConfig)[0])}vocab.txt")
    with pytest.raises(typer.Exit) as ended:
        run()
    assert ended.value.exit_code == ExitCode.DAMAGED
    gone = {"3L/epoch-0001/MNLI-m-seed1/predictions.tsv", "vocabulary/vocab.txt"}
    assert files(tmp_path / "here") == [name for name in RESULTS if name not in gone]
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["damages"]) == 2  # the one document, also of a failure
    for said in (f"{damaged} is damaged", "vocab.txt is missing", "2 files can't be downloaded"):
        assert said in printed.err


def test_a_name_that_leads_out_is_refused(finished, run, tmp_path):
    """Whoever may write to the bucket must not write to the disk of who pulls."""
    finished.everything()
    graph = finished.graph.document
    next(node for node in graph["nodes"] if node["stage"] == "pretrain")["run"] = "../escaped"
    references.write(finished.store, "small", graph)
    with pytest.raises(DamagedError, match="leads out of"):
        run()
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("kind", ["file", "gs"])
def test_by_file_from_any_store_without_tensorflow_or_kfp(kind, tmp_path, request):
    """As its users run it: only the answer on stdout, and nothing heavy imported."""
    uri = str(tmp_path / "store") if kind == "file" else request.getfixturevalue("gs_uri")
    finished = Finished(uri).everything()
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(DOCUMENT))
    code = (
        "import sys\nsys.argv = ['bertline', *sys.argv[1:]]\n"
        "import typer\nfrom bertline_cli import pull\n"
        "app = typer.Typer()\napp.command()(pull.command)\n"
        "app(standalone_mode=False)\n"
        "heavy = {'kfp', 'tensorflow', 'tf_keras', 'altair'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    arguments = [tmp_path / "my.yaml", tmp_path / "here", "--store", uri, "--checkpoints", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["pulled"]) == 3 + 1 + 4 * (3 + 2)
    assert not done.stderr, "no bars where there is no terminal"
    name = "6L/epoch-0002/pretrain/state.safetensors"
    stored = finished.store.get(f"{finished.place(finished.graph.configs(PretrainConfig)[-1])}state.safetensors")[0]
    assert (tmp_path / "here" / name).read_bytes() == stored
    if kind == "gs":
        finished.store._connected[1].client.close()


def test_nothing_yet_and_no_such_experiment_have_their_exit_codes(finished, run, tmp_path):
    from bertline.errors import BertlineError

    for experiment, code, said in (
        ("small", ExitCode.TRANSIENT, "all 14 results are missing"),
        ("large", ExitCode.USER_ERROR, "it has small"),
    ):
        with pytest.raises(BertlineError, match=said) as raised:
            run(experiment)
        assert raised.value.exit_code == code
    assert not (tmp_path / "here").exists()
