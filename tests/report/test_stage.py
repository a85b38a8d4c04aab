"""The stage and `render`: what is complete, what is missing, what is damaged."""

import json
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from bertline.errors import DamagedError, UserError
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment.specs import Experiment
from bertline.pretrain.config import PretrainConfig
from bertline.report import charts, stage
from bertline.report.config import ReportConfig

Fill = Callable[..., Any]


class Tables(HTMLParser):
    """Cells of the tables by caption, addresses that the page refers to, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.titles: list[str] = []
        self.addresses: list[tuple[str, str, str]] = []
        self.text = ""
        self._into: str | None = None
        self._caption = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                self.addresses.append((tag, name, value or ""))
            if name == "title":
                self.titles.append(value or "")
        if tag in ("caption", "th", "td", "script", "style"):
            self._into = tag
            if tag == "caption":
                self._caption = ""
            elif tag in ("th", "td"):
                self.tables[self._caption][-1].append("")
        elif tag == "tr":
            self.tables[self._caption].append([])

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self.tables[self._caption] = []
        if tag == self._into:
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into == "caption":
            self._caption += data
        elif self._into in ("th", "td"):
            self.tables[self._caption][-1][-1] += data
        if self._into not in ("script", "style"):
            self.text += data


def render(filled: Any, directory: Path) -> tuple[Tables, str]:
    page = stage.render(filled.store, filled.reference, directory)
    return Tables(page.read_text()), (directory / "report.md").read_text()


def markdown_rows(text: str, first_column: str) -> list[list[str]]:
    """Cells of the Markdown table whose heading begins so."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([re.sub(r"[`*\\]", "", cell).strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def test_every_figure_of_every_table_is_a_manifests(fill: Fill, tmp_path: Path):
    filled = fill(evaluate__seeds=[1, 2, 3])
    html, markdown = render(filled, tmp_path / "out")
    rounds, tunings, accuracies = [], [], []
    for node in filled.graph.select("pretrain"):
        key = node.key
        results, measured = filled.outcomes[key].results, filled.outcomes[key].measurements
        last = results["epochs"][-1]["held_out"]
        rounds.append([
            node.run,
            str(node.epoch),
            f"{results['step']:,}",
            f"{measured['round_wall_clock_s'] / 3600:.2f}",
            f"{measured['wall_clock_s'] / 3600:.2f}",
            f"{measured['sequences_per_s']:.0f}",
            f"{measured['host_memory_peak_bytes'] / 2**30:.2f} GiB",
            "no GPU",
            f"{last['mlm_loss']:.3f}",
            f"{100 * last['mlm_accuracy']:.1f} %",
            f"{last['nsp_loss']:.3f}",
            f"{100 * last['nsp_accuracy']:.1f} %",
            f"{measured['lost_s']:.1f}",
            "2",
            key[:10],
        ])  # fmt: skip
        shares = []
        for evaluation in filled.graph.select("evaluate", run=node.run, epoch=node.epoch):
            key = evaluation.key
            results, taken = filled.outcomes[key].results, filled.outcomes[key].measurements
            shares.append(results["correct"] / results["examples"])
            tunings.append([
                node.run,
                str(node.epoch),
                "MNLI-m",
                str(evaluation.fine_tuning_seed),
                f"{results['correct']:,}",
                f"{results['examples']:,}",
                f"{100 * shares[-1]:.1f} %",
                f"{results['loss']:.3f}",
                f"{results['train_examples']:,}",
                f"{taken['seconds']:.1f}",
                key[:10],
            ])  # fmt: skip
        mean = sum(shares) / 3
        deviation = (sum((share - mean) ** 2 for share in shares) / 2) ** 0.5
        error = (mean * (1 - mean) / 9815) ** 0.5
        accuracies.append([
            "MNLI-m",
            str(node.epoch),
            node.model,
            f"{measured['wall_clock_s'] / 3600:.2f}",
            f"{100 * mean:.1f} %",
            f"±{100 * 4.303 * deviation / 3**0.5:.1f}",
            "3",
            "3",
            "9,815",
            f"{100 * error:.2f}",
            f"{100 * 1.96 * 2**0.5 * error:.1f}",
        ])  # fmt: skip
    accuracies.sort(key=lambda row: (int(row[1]), row[2]))
    encoder = {"3L": "12.7 M", "6L": "12.7 M"}
    models = [
        [name, str(layers), "256", "4", str(batch), "10,000", "50", encoder[name], "12.8 M", epochs]
        for name, layers, batch, epochs in (("3L", 3, 128, "800"), ("6L", 6, 64, "1,600"))
    ]
    dump = "enwiki-20200301-pages-articles.xml.bz2"
    corpus = [dump, "en", "5.89 M", "2.17 Bn", "2.99 Bn", "0.4 %", "10", "51,712,345", "258,123", "30,522"]
    expected = {
        "Rounds of pre-training; losses and accuracies on the held-out documents": rounds,
        "Every fine-tuning": tunings,
        "Accuracy on the whole dev set": accuracies,
        "The models": models,
        "The corpus": [corpus],
        "Templates whose text isn't known": [["ipac-en", "98,765"], ["ipa", "1,234"], ["a|b<i>", "17"]],
    }
    for caption, rows in expected.items():
        assert html.tables[caption][1:] == rows, caption
    assert {"5,891,234", "2,171,234,567", "12,678,400", "12,678,401"} <= set(html.titles)
    assert markdown_rows(markdown, "run | epoch | step") == rounds
    assert markdown_rows(markdown, "run | epoch | task") == tunings
    assert markdown_rows(markdown, "task") == accuracies
    assert markdown_rows(markdown, "model | layers") == models
    assert markdown_rows(markdown, "dump")[0][1:] == corpus[1:]
    assert [row[1] for row in markdown_rows(markdown, "template")[:2]] == ["98,765", "1,234"]


def test_charts_hold_the_manifests_figures(fill: Fill, tmp_path: Path):
    filled = fill()
    page = stage.render(filled.store, filled.reference, tmp_path / "out").read_text()
    specs = json.loads(page.split('id="charts">')[1].split("</script>")[0])
    drawn = {
        (row["model"], row["epoch"], row["wall_clock"], row.get("accuracy", row.get("loss")))
        for chart in specs
        for rows in chart["spec"]["datasets"].values()
        for row in rows
    }
    expected = set()
    for node in filled.graph.select("pretrain"):
        done = filled.outcomes[node.key]
        times = done.measurements["epoch_wall_clock_s"]
        for epoch, seconds in zip(done.results["epochs"], times, strict=True):
            expected.add((node.model, epoch["epoch"], seconds / 3600, epoch["held_out"]["mlm_loss"]))
        evaluation = filled.graph.select("evaluate", run=node.run, epoch=node.epoch)[0]
        accuracy = filled.outcomes[evaluation.key].results["accuracy"]
        expected.add((node.model, node.epoch, done.measurements["wall_clock_s"] / 3600, accuracy))
    assert drawn == expected


@pytest.mark.parametrize("tasks", [1, 2])
def test_chart_files_have_a_mark_for_each_milestone(fill: Fill, tmp_path: Path, tasks: int):
    files = {"train": {"url": "https://example.org/a"}, "dev": {"url": "https://example.org/b"}}
    filled = fill(evaluate__tasks=dict.fromkeys(("MNLI-m", "MNLI-mm")[:tasks], files))
    stage.render(filled.store, filled.reference, tmp_path / "out")
    drawing = (tmp_path / "out" / "wallclock-accuracy.svg").read_text()
    assert len(re.findall(r'aria-roledescription="(?:point|circle|square)"', drawing)) == 10 * tasks
    assert (tmp_path / "out" / "wallclock-accuracy.png").read_bytes().startswith(b"\x89PNG")
    markdown = (tmp_path / "out" / "report.md").read_text()
    for name in re.findall(r"\]\(([\w-]+\.png)\)", markdown):
        assert (tmp_path / "out" / name).stat().st_size > 10_000


def test_what_is_missing_shows_as_a_gap(fill: Fill, tmp_path: Path):
    filled = fill(lambda config: getattr(config, "end_epoch", 0) > 20 or config.STAGE == "evaluate")
    html, markdown = render(filled, tmp_path / "out")
    rounds = html.tables["Rounds of pre-training; losses and accuracies on the held-out documents"]
    assert [set(row[2:-1]) for row in rounds[1:] if int(row[1]) > 20] == [{"not begun"}] * 6
    assert [row[4] for row in html.tables["Accuracy on the whole dev set"][1:]] == ["not begun"] * 10
    for text in (html.text, markdown):
        assert "Not complete: 6 of 22 realizations are done" in text
        assert "No chart yet: no fine-tuning is done." in text
    assert not (tmp_path / "out" / "wallclock-accuracy.png").exists()


def test_nothing_at_all_is_done(fill: Fill, tmp_path: Path):
    html, markdown = render(fill(lambda config: True), tmp_path / "out")
    assert html.tables["The corpus"][1][2:5] == ["not begun"] * 3
    assert "Not complete: 0 of 22" in html.text
    assert "Not complete: 0 of 22" in markdown


def test_a_failed_attempt_is_told_from_one_that_never_began(fill: Fill, tmp_path: Path):
    from bertline.store import attempts

    filled = fill(lambda config: config.STAGE == "evaluate")
    first = filled.graph.configs(EvaluateConfig)[0]
    attempt = attempts.Attempt(filled.store, first.derivation().prefix)
    attempt.record("failed", exit_code=1, message="secret path")
    attempt.close()
    html, _ = render(filled, tmp_path / "out")
    assert [row[4] for row in html.tables["Every fine-tuning"][1:]] == ["failed"] + ["not begun"] * 9
    assert "secret path" not in html.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: "{",
        lambda document: json.dumps(document | {"results": {}}),
        lambda document: json.dumps(document | {"results": document["results"] | {"accuracy": "high"}}),
        lambda document: json.dumps(document | {"key": "0" * 64}),
    ],
    ids=["not JSON", "no results", "a word for a number", "another's"],
)
def test_a_damaged_manifest_is_an_error_that_names_it(fill: Fill, tmp_path: Path, damage: Callable[[Any], str]):
    filled = fill()
    evaluation = filled.graph.configs(EvaluateConfig)[0]
    path = filled.manifest(evaluation)
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(DamagedError, match=f"objects/evaluate/{evaluation.derivation().key}/manifest.json"):
        stage.render(filled.store, filled.reference, tmp_path / "out")


def test_optional_measurements_may_be_missing(fill: Fill, tmp_path: Path):
    filled = fill()
    for milestone in filled.graph.configs(PretrainConfig):
        path = filled.manifest(milestone)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"measurements": {}}))
    html, _ = render(filled, tmp_path / "out")
    rounds = html.tables["Rounds of pre-training; losses and accuracies on the held-out documents"][1:]
    assert [row[3:8] for row in rounds] == [["–"] * 5] * 10


def test_gpu_memory_shows_where_there_was_a_gpu(fill: Fill, tmp_path: Path):
    filled = fill()
    path = filled.manifest(filled.graph.configs(PretrainConfig)[0])
    document = json.loads(path.read_text())
    document["measurements"] |= {"gpu_present": 1, "gpu_memory_peak_bytes": 4375 * 2**20}
    path.write_text(json.dumps(document))
    html, _ = render(filled, tmp_path / "out")
    rounds = html.tables["Rounds of pre-training; losses and accuracies on the held-out documents"][1:]
    assert [row[7] for row in rounds[:2]] == ["4.27 GiB", "no GPU"]


def test_names_and_descriptions_are_text(fill: Fill, tmp_path: Path):
    evil = '<script>alert(1)</script> <img src=x onerror="alert(2)"> | **bold** [a](javascript:b)'
    filled = fill(
        description=evil, corpus__dump={"url": 'https://example.org/"><script>alert(3)</script>', "sha1": "a" * 40}
    )
    page = stage.render(filled.store, filled.reference, tmp_path / "out").read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert evil in Tables(page).text
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert markdown_rows(markdown, "dump")[0][1] == "en"  # the row isn't broken
    outside_code = "\n".join(line for line in markdown.splitlines() if not line.startswith("    "))
    assert not re.search(r"(?<!\\)<script", outside_code.replace("%3Cscript", ""))
    assert "\\*\\*bold" in outside_code


def test_the_page_needs_no_network(fill: Fill, tmp_path: Path):
    html, _ = render(fill(), tmp_path / "out")
    outside = [address for address in html.addresses if not address[2].startswith("#")]
    assert outside == [("a", "href", "https://dumps.example.org/enwiki-20200301-pages-articles.xml.bz2")]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("window.vegaEmbed=") == 1  # one bundle for all charts
    assert "default-src 'none'" in page
    assert "url(" not in page.split("<style>")[1].split("</style>")[0]


def test_tables_have_captions_and_scopes_and_charts_have_words(fill: Fill, tmp_path: Path):
    page = stage.render((filled := fill()).store, filled.reference, tmp_path / "out").read_text()
    markup = re.sub(r"<script.*?</script>|<noscript>.*?</noscript>", "", page, flags=re.DOTALL)
    assert markup.count("<table>") == markup.count("<caption>") == len(Tables(page).tables)
    assert "<th>" not in markup
    assert len(re.findall(r'class="chart" id="[\w-]+" role="img" aria-label="Line chart of .{40,}"', markup)) == 2


def test_sample_data_is_never_shown_without_saying_so(fill: Fill, tmp_path: Path):
    sample = {name: {"url": f"sample:nli/{name}", "sha256": "d" * 64} for name in ("train", "dev")}
    filled = fill(evaluate__tasks={"sample-nli": sample})
    html, markdown = render(filled, tmp_path / "out")
    warning = (
        "This is a demonstration on sample data: sample:nli/train, sample:nli/dev. It says nothing about language."
    )
    assert warning in html.text
    assert warning in markdown
    before_specification = html.text.split("name: original")[0]
    mentions = [m.end() for m in re.finditer("sample-nli", before_specification)]
    assert mentions
    assert all(before_specification[end:].startswith(" (sample data)") for end in mentions)
    drawing = (tmp_path / "out" / "wallclock-accuracy.svg").read_text()
    assert "Sample data: it says nothing about language" in drawing
    assert "sample data" not in render(fill(), tmp_path / "real")[0].text


def test_the_specification_shown_runs_the_same_experiment(fill: Fill, tmp_path: Path):
    filled = fill()
    _, markdown = render(filled, tmp_path / "out")
    block = markdown.split("defaults included:\n")[1].split("## Provenance")[0]
    shown = Experiment.model_validate(yaml.safe_load("\n".join(line[4:] for line in block.splitlines())))
    assert shown == filled.graph.experiment


def test_folders_of_the_authors_machine_are_not_shown(fill: Fill, tmp_path: Path):
    dump = tmp_path / "private" / "wiki.xml.bz2"
    dump.parent.mkdir()
    dump.write_bytes(b"a dump")
    filled = fill(corpus__dump=str(dump))
    html, markdown = render(filled, tmp_path / "out")
    for text in (html.text, markdown):
        assert "wiki.xml.bz2" in text
        assert str(tmp_path) not in text


def test_the_stage_commits_the_report_and_its_accuracies(fill: Fill):
    filled = fill()
    config = ReportConfig(name="original", graph=filled.reference.digest)
    realization = stage.run(config, filled.store)
    assert set(realization.paths()) == {
        "report.html",
        "report.md",
        "wallclock-accuracy.png",
        "wallclock-accuracy.svg",
        "wallclock-loss.png",
        "wallclock-loss.svg",
    }
    accuracies = realization.manifest.results["accuracies"]
    assert len(accuracies) == 10
    for entry in accuracies:
        assert entry["accuracy"] == filled.outcomes[entry["key"]].results["accuracy"]
    assert realization.verify() == []
    assert stage.run(config, filled.store).manifest == realization.manifest


def test_the_stage_refuses_an_unfinished_experiment(fill: Fill):
    filled = fill(lambda config: config.STAGE == "evaluate")
    with pytest.raises(DamagedError, match=r"objects/evaluate/\w+/manifest.json is missing"):
        stage.run(ReportConfig(name="original", graph=filled.reference.digest), filled.store)


def test_the_stage_refuses_an_unknown_version(fill: Fill):
    filled = fill()
    with pytest.raises(UserError, match="no version 0000 of experiment 'original'"):
        stage.run(ReportConfig(name="original", graph="0000"), filled.store)


def test_a_large_experiment_is_told_in_seconds(fill: Fill, tmp_path: Path):
    filled = fill(pretrain__epochs_per_round=1, pretrain__seeds=[1, 2, 3, 4, 5])  # 2 models, 50 rounds, 5 seeds
    charts.bundle.cache_clear()  # as in a fresh process
    begun, worked = time.monotonic(), time.process_time()
    stage.render(filled.store, filled.reference, tmp_path / "out")
    # The machine may be busy with other things: its processor time tells, as long as nothing sleeps.
    assert min(time.monotonic() - begun, time.process_time() - worked) < 10
