"""One theme: how charts look is said in one place, for the report and for the monitoring page."""

import re

import pytest

from bertline.report import theme
from support.checkouts import ROOT

FACES = re.compile(r"#[0-9a-fA-F]{6}\b|system-ui|(label|title)FontSize|(label|title|domain|tick|grid)Color")
SOURCES = [
    path
    for folder in ("components/bertline/report", "pipelines/bertline_pipelines/monitoring")
    for path in (ROOT / folder).rglob("*.py")
]


def test_colours_fonts_and_axes_stand_in_the_theme_alone():
    assert {path.name for path in SOURCES if FACES.search(path.read_text(encoding="utf-8"))} == {"theme.py"}


def test_both_sizes_differ_in_size_and_place_alone():
    figure, panel = theme.config("figure"), theme.config("panel")
    assert figure["font"] == panel["font"]
    for part in ("axis", "legend", "title"):
        colors = [{name: value for name, value in each[part].items() if "Color" in name} for each in (figure, panel)]
        assert colors[0] == colors[1] != {}
        assert set(colors[0].values()) == {"currentColor"}


def _luminance(color: str) -> float:
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("page", ["#ffffff", "#14171b"], ids=["light", "dark"])
@pytest.mark.parametrize("color", theme.COLORS)
def test_a_models_colour_can_be_seen_on_both_pages(color, page):
    bright, dark = sorted([_luminance(color), _luminance(page)], reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 3


def test_the_ninth_model_has_the_first_ones_colour():
    assert theme.color(8) == theme.color(0) != theme.color(1)
