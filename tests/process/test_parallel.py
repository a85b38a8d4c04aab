"""Many small requests at the same time."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from bertline.errors import TransientError
from bertline.process import parallel
from bertline.process.signals import Stopped


def test_results_are_in_the_order_of_the_items_whoever_is_first():
    def answer(number):
        time.sleep(0.02 * (number % 3))
        return number * 10

    assert parallel.each(answer, iter(range(50))) == [number * 10 for number in range(50)]
    assert parallel.each(answer, []) == []


def test_as_many_go_at_the_same_time_as_there_are_threads_and_no_more():
    lock, now, most = threading.Lock(), 0, 0

    def answer(_):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1

    parallel.each(answer, range(20), threads=5)
    assert most == 5


@pytest.mark.parametrize("failure", [TransientError("gone"), Stopped("told to stop")], ids=["error", "stopped"])
def test_after_a_failure_nothing_new_begins_and_what_is_under_way_is_waited_for(failure):
    begun, ended = [], []

    def answer(number):
        begun.append(number)
        if number == 1:
            raise failure
        time.sleep(0.2)
        ended.append(number)

    with pytest.raises(type(failure), match=str(failure)):
        parallel.each(answer, range(100), threads=4)
    assert len(begun) <= 5
    assert set(ended) == set(begun) - {1}


def test_a_command_that_is_stopped_ends_though_its_store_hangs():
    program = """
import time
from bertline.process import parallel
print("at work", flush=True)
parallel.each(lambda _: time.sleep(60), range(50))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"at work\n"
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
    assert time.monotonic() - began < 5
