"""The dashboard that Grafana gets."""

import json
import re

import pytest

from bertline_pipelines.monitoring import grafana, panels, sections


@pytest.fixture(scope="module")
def board():
    return json.loads(grafana.text())


def all_panels(board):
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels") or []


def test_it_asks_what_the_panels_ask(board):
    asked = [target["expr"] for panel in all_panels(board) for target in panel.get("targets", [])]
    assert asked == [query.expr for _, _, query in sections.all_queries()]
    titles = [panel["title"] for panel in all_panels(board)]
    assert titles == [
        title
        for section in sections.SECTIONS
        for title in [*filter(None, [section.title]), *(panel.title for panel in section.panels)]
    ]


def test_only_variables_that_exist_are_used(board):
    names = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([A-Za-z]\w+)", json.dumps(board)))
    assert used - {"__all", "__rate_interval", "__range"} <= names
    assert names == {"datasource", "experiment", "run", "kfp", "report"}


def test_panels_fill_their_rows_and_dont_overlap(board):
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert {x for x, _ in taken} == set(range(24))


def test_panels_have_addresses_titles_and_words_for_nothing(board):
    found = list(all_panels(board))
    ids = [panel["id"] for panel in found]
    assert len(set(ids)) == len(ids)
    for panel in found:
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["noValue"]
            assert panel["datasource"]["uid"] == "${datasource}"
    memory = next(panel for panel in found if panel["title"] == "GPU memory")
    assert memory["fieldConfig"]["defaults"]["noValue"] == "no GPU"
    assert memory["fieldConfig"]["defaults"]["unit"] == "bytes"


def test_links_lead_to_kubeflow_and_the_report(board):
    assert [link["url"] for link in board["links"]] == ["${kfp}/#/runs", "${report}"]


def test_every_absence_that_a_panel_names_is_explained():
    named = {query.needs for _, _, query in sections.all_queries()}
    assert named - {""} == panels.NEEDS.keys()


def test_the_sdk_is_needed_to_render_and_for_nothing_else(board):
    """`bertline` shows panels where only its own packages are."""
    import subprocess
    import sys

    script = (
        "import sys; sys.modules['grafana_foundation_sdk'] = None; sys.modules['altair'] = None\n"
        "sys.modules['vl_convert'] = None; sys.modules['jinja2'] = None\n"
        "import bertline_pipelines.monitoring.sections, bertline_pipelines.monitoring.pages\n"
        "import bertline_pipelines.monitoring.queries\n"
        "assert not {'kfp', 'tensorflow', 'yaml'} & sys.modules.keys(), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
