"""Bars: one drawer for all commands, and nothing of them where there is no terminal."""

import contextlib
import io
import os
import pty
import threading
from pathlib import Path

import pytest

from bertline.process import progress
from bertline.store.backends import connect
from bertline.store.derivations import Derivation
from bertline.store.realizations import Build, Outcome, realize
from bertline_cli.bars import Bars
from support.terminals import on_a_terminal


@pytest.fixture
def drawn():
    """Use bars on a pseudo-terminal; what was written there."""

    def drawn(use):
        ours, theirs = pty.openpty()
        shown = []

        def read():
            with contextlib.suppress(OSError):  # EIO: nobody has the other side any more
                while part := os.read(ours, 1 << 16):
                    shown.append(part)

        reader = threading.Thread(target=read)
        reader.start()
        with os.fdopen(theirs, "w") as stream, Bars(stream) as bars:
            use(bars)
        reader.join()
        os.close(ours)
        return b"".join(shown).decode()

    return drawn


def told(done, total, unit="B", rate=0.0):
    return {"label": "reading the dump", "done": done, "total": total, "unit": unit, "rate": rate}


def test_rows_messages_and_a_note_are_drawn(drawn, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")

    def use(bars):
        bars.show("corpus", told(3_000_000, 12_000_000, rate=1e6), "42 s")
        bars.show("6L-pretrain-10", None)
        bars.note("  4 more wait")
        bars.say("done: [bold]not markup[/bold]")
        bars._drawn.refresh()
        bars.drop("corpus")
        bars.drop("never drawn")

    shown = drawn(use)
    assert "corpus" in shown
    assert "reading the dump: 3 of 12 MB, 1.0 MB/s, 9 s left" in shown
    assert "42 s" in shown
    assert "starting" in shown
    assert "4 more wait" in shown
    assert "done: [bold]not markup[/bold]" in shown


def test_nothing_to_show_draws_nothing_and_imports_no_rich():
    stream = io.StringIO()
    with Bars(stream) as bars:
        bars.drop("corpus")
    assert stream.getvalue() == ""
    assert "_drawn" not in bars.__dict__


def _build(work: Build) -> Outcome:
    (work.payload / "big.bin").write_bytes(b"x" * 1_500_000)
    return Outcome({}, {})


def test_verify_draws_its_bar_with_the_same_drawer_on_a_terminal_alone(tmp_path: Path):
    store = connect(str(tmp_path / "store"))
    realize(store, Derivation("numbers", 1, {"n": 1}), _build)
    shown = "\n".join(on_a_terminal(120, "store", "verify", "--store", str(tmp_path / "store")))
    assert "verifying" in shown
    assert "2 of 2 MB" in shown
    assert "━" in shown


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (told(3, None, "pages"), "reading the dump: 3 pages"),
        (told(3, None, "pages", 2.0), "reading the dump: 3 pages, 2.0 pages/s"),
        (told(3_000, 9_000, "steps", 10.0), "reading the dump: 3,000 of 9,000 steps, 10.0 steps/s, 10 min 00 s left"),
        (told(9_000, 9_000, "steps", 10.0), "reading the dump: 9,000 of 9,000 steps, 10.0 steps/s"),
    ],
)
def test_a_line_tells_what_is_done_how_fast_and_what_is_left(document, text):
    assert progress.line(document) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (18_720, "5 h 12 min")])
def test_durations(seconds, text):
    assert progress.duration(seconds) == text
