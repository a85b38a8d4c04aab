"""SIGTERM and Ctrl-C reach the work wherever it is, and nothing swallows them."""

import contextlib
import signal

import pytest

from bertline.errors import ExitCode
from bertline.process import signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, ExitCode.PREEMPTED), (signal.SIGINT, ExitCode.INTERRUPTED)]
)
def test_a_signal_ends_the_work_at_once_with_its_exit_code(number, code):
    with pytest.raises(signals.Stopped, match="what is done is kept") as caught, signals.handled():
        signal.raise_signal(number)
    assert caught.value.exit_code == code


def test_what_catches_every_exception_does_not_catch_a_stop():
    with pytest.raises(signals.Stopped), signals.handled(), contextlib.suppress(Exception):
        signal.raise_signal(signal.SIGTERM)


def test_a_stop_that_python_drops_in_a_destructor_is_raised_by_the_next_check(monkeypatch):
    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("sys.unraisablehook", lambda _: None)  # Python would print it
    with signals.handled():
        dying = Dying()
        del dying
        with pytest.raises(signals.Stopped):
            signals.check()


def test_a_second_signal_does_not_disturb_the_ending():
    ended = []

    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
            ended.append(True)

    with signals.handled(), pytest.raises(signals.Stopped):
        work()
    assert ended


def test_a_postponed_signal_is_only_noted():
    with signals.handled():
        with signals.postponable():
            signals.postpone()
            signal.raise_signal(signal.SIGTERM)
            signals.check()
            assert signals.told_to_stop()
        with pytest.raises(signals.Stopped):
            signals.check()


def test_the_message_says_what_is_kept_and_only_for_its_part():
    def work():
        with signals.postponable():
            signals.keeps("saved at step 140")
            signal.raise_signal(signal.SIGTERM)

    with signals.handled():
        with pytest.raises(signals.Stopped, match="saved at step 140"):
            work()
        with pytest.raises(signals.Stopped, match="what is done is kept"):
            signals.check()


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.handled():
            signal.raise_signal(signal.SIGINT)
            assert not signals.told_to_stop()
    finally:
        signal.signal(signal.SIGINT, before)
