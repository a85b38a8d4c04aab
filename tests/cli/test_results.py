"""`bertline results`: rows, half-way and at the end, and their table."""

import csv
import io
import json

import pytest

from bertline.errors import UserError
from bertline.pretrain.config import PretrainConfig
from bertline_cli import results as command
from bertline_pipelines import results
from support.finished_experiments import Finished


@pytest.fixture
def finished(tmp_path):
    return Finished(str(tmp_path / "store"))


@pytest.fixture
def run(finished, capsys):
    def run(**options):
        command.command("small", finished.store.uri, **options)
        return capsys.readouterr().out

    return run


def test_a_row_a_fine_tuning(finished):
    finished.everything()
    rows = results.rows(finished.store.uri, "small")
    assert len(rows) == 2 * 2 * 2  # models, epochs, seeds
    [row] = [row for row in rows if (row["model"], row["epoch"], row["seed"]) == ("6L", 2, 1)]
    assert (row["accuracy"], row["correct"], row["examples"]) == (0.67, 67, 100)
    assert (row["wall_clock_s"], row["held_out_mlm_loss"], row["parameters"]) == (201.0, 3.0, 11)
    assert row.keys() == results.Row.__annotations__.keys()


def test_half_way_a_milestone_has_a_row_without_an_accuracy(finished, run):
    finished.milestone(finished.graph.configs(PretrainConfig, model="3L")[0])
    [row] = json.loads(run(as_json=True))
    assert (row["model"], row["epoch"], row["task"], row["accuracy"]) == ("3L", 1, None, None)
    assert "results are missing" in run()


def test_nothing_is_done_yet(finished, run):
    assert run().startswith("no milestone is done yet")


def test_the_table_has_a_line_a_milestone_and_task(finished, run):
    finished.everything()
    heading, *lines = run().splitlines()
    assert heading.split() == ["run", "epoch", "task", "accuracy", "MLM", "loss", "trained", "memory", "by", "seed"]
    assert lines[-1].split() == ["6L", "2", "MNLI-m", "67.5%", "3.000", "3", "min", "21", "s", "-", "67.0%", "68.0%"]
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80


def test_csv_and_json_have_the_same_rows(finished, run):
    finished.everything()
    rows = list(csv.DictReader(io.StringIO(run(as_csv=True))))
    told = json.loads(run(as_json=True))
    assert [row["key"] for row in rows] == [row["key"] for row in told]
    with pytest.raises(UserError, match="exclude each other"):
        run(as_csv=True, as_json=True)
