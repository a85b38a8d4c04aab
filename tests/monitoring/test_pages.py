"""The page that is drawn from a Prometheus, of a made-up training's past."""

import datetime
import html.parser
import re
import time

import pytest

from bertline.errors import TransientError, UserError
from bertline_pipelines.monitoring import formats, pages, sections
from support import histories, prometheus
from support.histories import EXPERIMENT

pytestmark = [prometheus.needs_prometheus, prometheus.needs_promtool]


MEMORY = "Memory of each model and round"


def ago(seconds):
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)


@pytest.fixture(scope="module", params=["gpu", "cpu"])
def server(request, tmp_path_factory):
    """11,000 seconds of two runs that still go on; without a GPU, ten minutes of them."""
    folder = tmp_path_factory.mktemp("prometheus")
    gpu = request.param == "gpu"
    until = 11_000.0 if gpu else 600.0
    epoch = float(int(time.time() - until))
    prometheus.backfill(folder, histories.exposition(gpu, epoch, until, every=60.0 if gpu else 10.0))
    with prometheus.Prometheus(folder) as running:
        running.gpu = gpu
        yield running


@pytest.fixture(scope="module")
def page(server, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "monitoring" / "page.html"
    assert pages.write(server.url, EXPERIMENT, out, ago(86400)) == out
    return out.read_text(encoding="utf-8")


class Panels(html.parser.HTMLParser):
    """Title of each panel → its text, and whether it has a drawing with lines in it."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.marks = {}, {}
        self._title, self._in_title = None, False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "h3":
            self._in_title, self._title = True, ""
        elif self._title is not None and attributes.get("role") == "graphics-symbol":
            self.marks[self._title] = self.marks.get(self._title, 0) + 1

    def handle_endtag(self, tag):
        if tag == "h3":
            self._in_title = False
            self.texts[self._title] = ""

    def handle_data(self, data):
        if self._in_title:
            self._title += data
        elif self._title is not None:
            self.texts[self._title] += data.replace("\N{NO-BREAK SPACE}", " ") + " "


def test_every_panel_is_there_with_data_or_the_reason(server, page):
    found = Panels(page)
    expected = [panel for section in sections.SECTIONS for panel in section.panels]
    assert list(found.texts) == [panel.title for panel in expected]
    for panel in expected:
        needs = {query.needs for query in panel.queries if query.style != "limit"}
        later = {"epoch", "evaluation", "checkpoint"}  # than ten minutes
        absent = needs <= ({"dcgm"} if server.gpu else {"gpu", "gpu peak", "dcgm"} | later)
        assert (panel.missing in found.texts[panel.title]) == absent, panel.title
        if panel.kind in ("lines", "rounds", "states"):
            assert (found.marks.get(panel.title, 0) > 0) != absent, panel.title


def test_values_stand_with_their_units(server, page):
    found = Panels(page).texts
    assert re.search(r"3L · \d0\s*training", found["State"])
    assert re.search(r"6L · \d0\s*\d+\.\d %", found["Progress of the round"])
    if server.gpu:
        assert re.search(r"6L\s*31\.1 %", found["Peak GPU memory"])
        assert re.search(r"6L\s*pretrain\s*20\s*64\s*12\.6 M\s*7\.0 GiB\s*9\.3 GiB\s*22\.5 GiB", found[MEMORY])
    else:
        assert re.search(r"6L\s*pretrain\s*10\s*64\s*12\.6 M\s*no GPU\s*no GPU\s*no GPU\s*2\.\d GiB", found[MEMORY])


def test_a_page_needs_nothing_else(server, page):
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page)) - {server.url, f"{server.url}."}
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_a_run_has_one_colour_throughout(page):
    colors = dict(
        re.findall(r'<li><span class="swatch" style="background: (#\w+)"></span>(\w+)</li>', page.split("<section")[0])
    )
    assert sorted(colors.values()) == ["3L", "6L"]
    strokes = set(re.findall(r'stroke="(#\w+)"', page)) - {"#000", "#ddd", "#888"}
    assert strokes == colors.keys()


def test_time_without_samples_is_cut_off(server, page):
    begin = re.search(r"(\d{4}-\d\d-\d\d \d\d:\d\d) UTC to", page)[1]
    shown = datetime.datetime.strptime(f"{begin} +0000", "%Y-%m-%d %H:%M %z")
    assert abs((shown - ago(11_000 if server.gpu else 600)).total_seconds()) < 300


def test_an_experiment_that_nobody_saw_is_a_sentence_with_those_that_were(server, tmp_path):
    with pytest.raises(UserError, match=f"no samples of another .* it has {EXPERIMENT}"):
        pages.write(server.url, "another", tmp_path / "page.html", ago(86400))
    with pytest.raises(UserError, match="it has no experiment"):
        pages.write(server.url, EXPERIMENT, tmp_path / "page.html", ago(900_000), until=ago(800_000))
    assert not (tmp_path / "page.html").exists()


def test_nobody_at_the_address_is_a_sentence(tmp_path):
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:1 doesn't answer"):
        pages.write("http://127.0.0.1:1", EXPERIMENT, tmp_path / "page.html", ago(60))
    with pytest.raises(UserError, match="isn't a Prometheus"):
        pages.write("somewhere", EXPERIMENT, tmp_path / "page.html", ago(60))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (7 * 2**30, "bytes", "7.0 GiB"),
        (1500 * 2**20, "bytes", "1,500 MiB"),
        (90, "seconds", "90.0 s"),
        (5400, "seconds", "90.0 min"),
        (86400, "seconds", "24.0 h"),
        (0.311, "share", "31.1 %"),
        (12_640_000, "count", "12.6 M"),
        (128, "count", "128"),
        (4.2e12, "flops", "4.2 TFLOP/s"),
        (0.00012, "rate", "1.20e-04"),
        (3, "phase", "training"),
        (2.79, "loss", "2.790"),
    ],
)
def test_values_are_written_for_people(value, unit, text):
    assert formats.text(value, unit).replace("\N{NO-BREAK SPACE}", " ") == text
