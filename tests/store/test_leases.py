"""One writer a realization."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bertline.errors import TransientError
from bertline.store import leases
from bertline.store.leases import Lease
from bertline.store.objects import HASTY_S, ObjectStore, OutageError

ACTORS = Path(__file__).with_name("actors.py")
NAME = "place/lease.json"


def _of_another_host(**changes: object) -> bytes:
    return json.dumps({"host": "elsewhere", "boot": "b", "namespace": "n", "pid": 1, "started": 0.0} | changes).encode()


def test_it_is_there_while_it_is_held(store: ObjectStore) -> None:
    with Lease(store, "place/") as lease:
        assert lease.held
        assert json.loads(store.get(NAME)[0])["pid"] == os.getpid()
        lease.check()
    assert store.stat(NAME) is None


def test_it_is_renewed(directory: ObjectStore) -> None:
    with Lease(directory, "place/", renew_s=0.02):
        versions = set()
        for _ in range(20):
            versions.add(directory.get(NAME)[1])
            time.sleep(0.02)
    assert len(versions) > 3


def test_a_live_one_is_waited_for(store: ObjectStore) -> None:
    """Many times as long as it takes to expire: the holder keeps renewing."""
    said: list[str] = []
    events: list[str] = []
    holds = threading.Event()

    def hold() -> None:
        with Lease(store, "place/", renew_s=0.05, expire_s=0.5):
            holds.set()
            time.sleep(2)
            events.append("first done")

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(30)
    with Lease(store, "place/", renew_s=0.05, expire_s=0.5, notify=said.append) as lease:
        events.append("second begins")
        lease.check()
    thread.join()
    assert events == ["first done", "second begins"]
    assert len(said) == 1
    assert "another attempt is at work" in said[0]
    assert f"process {os.getpid()}" in said[0]


@pytest.mark.parametrize("clock", [0.0, 4e9], ids=["a clock in the past", "a clock in the future"])
def test_a_silent_one_is_taken_only_after_watching_it(directory: ObjectStore, clock: float) -> None:
    # GIVEN a lease of another host, whose times are of any clock
    directory.create(NAME, _of_another_host(started=clock, time=clock))
    path = directory.local_path(NAME)
    assert path is not None
    os.utime(path, (clock, clock))
    # WHEN it is wanted, THEN it is watched for the full time, and taken
    began = time.monotonic()
    with Lease(directory, "place/", expire_s=0.6) as lease:
        waited = time.monotonic() - began
        assert lease.held
    assert 0.6 < waited < 3


def test_a_lease_that_cannot_be_read_expires_like_any_other(directory: ObjectStore) -> None:
    for content in (b"", b"[]", b"\xff{"):
        directory.put(NAME, content)
        with Lease(directory, "place/", expire_s=0.2) as lease:
            assert lease.held


def test_that_of_a_killed_process_of_this_machine_is_taken_at_once(directory: ObjectStore) -> None:
    holder = subprocess.Popen([sys.executable, ACTORS, "hold", directory.uri], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    said: list[str] = []
    began = time.monotonic()
    with Lease(directory, "place/", notify=said.append):  # which would expire after a minute
        assert time.monotonic() - began < 2
    assert len(said) == 1
    assert said[0].endswith(f"process {holder.pid} is gone; taking over")


def test_a_recycled_process_number_is_no_sign_of_life(directory: ObjectStore) -> None:
    with Lease(directory, "place/"):
        holder = json.loads(directory.get(NAME)[0])
    directory.put(NAME, json.dumps(holder | {"owner": "x", "started": holder["started"] - 1000}).encode())
    began = time.monotonic()
    with Lease(directory, "place/"):
        assert time.monotonic() - began < 2


def test_who_lost_it_is_told_and_leaves_the_others_alone(store: ObjectStore) -> None:
    with Lease(store, "place/", renew_s=0.05) as lease:
        store.put(NAME, _of_another_host(owner="other"))  # a rival that watched us in vain
        for _ in range(200):
            if lease._lost:
                break
            time.sleep(0.05)
        with pytest.raises(
            TransientError, match=r"lease .* was taken over by another attempt \(elsewhere, process 1\)"
        ):
            lease.check()
    assert json.loads(store.get(NAME)[0])["owner"] == "other"


def test_who_was_frozen_learns_of_the_loss_before_anything_is_written(directory: ObjectStore) -> None:
    """The renewing thread's turn may come too late: `confirm` looks itself."""
    with Lease(directory, "place/", renew_s=1000, expire_s=0.1) as lease:
        lease.confirm()
        directory.put(NAME, _of_another_host(owner="other"))
        time.sleep(0.2)
        with pytest.raises(TransientError, match="taken over"):
            lease.confirm()
        with pytest.raises(TransientError, match="taken over"):
            lease.check()


def test_who_cannot_renew_computes_on_and_does_not_write(
    directory: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(directory, "place/", renew_s=0.05, expire_s=0.4) as lease:
        with monkeypatch.context() as patch:
            patch.setattr(directory, "replace", _fail)
            time.sleep(0.5)
            lease.check()
            with pytest.raises(OutageError, match="network is down"):
                lease.confirm()
        lease.confirm()


def test_an_outage_does_not_count_as_a_holders_silence(directory: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a lease and can't see it for a while, begins to watch it anew: the holder was cut off too."""
    taken = threading.Event()
    go_on = threading.Event()

    def wait_for_it() -> None:
        with Lease(directory, "place/", expire_s=0.8):
            taken.set()
            go_on.wait(30)

    directory.put(NAME, _of_another_host())
    waiting = threading.Thread(target=wait_for_it)
    waiting.start()
    time.sleep(0.5)
    with monkeypatch.context() as patch:
        patch.setattr(directory, "get", _fail)
        time.sleep(0.9)
    back = time.monotonic()
    assert taken.wait(30)
    assert time.monotonic() - back > 0.7
    go_on.set()
    waiting.join()


def test_the_lease_of_a_killed_pod_is_taken_within_twenty_seconds(directory: ObjectStore) -> None:
    # GIVEN the lease of a pod that was killed, whose successor sees only its name
    directory.create(NAME, _of_another_host())
    began = time.monotonic()
    # WHEN it waits, here for a lease that expires sooner, THEN it has it a look or two after that
    with Lease(directory, "place/", expire_s=1.5) as lease:
        assert lease.held
        assert 1.5 < time.monotonic() - began < 1.5 + 3 * leases.POLL_S
    assert leases.EXPIRE_S + 3 * leases.POLL_S <= 20
    # AND a holder has several tries until then, also if one hangs as long as a hasty store lets it
    assert leases.RENEW_S + HASTY_S < leases.EXPIRE_S


def test_a_rivals_lease_survives_the_exit_of_who_never_noticed(directory: ObjectStore) -> None:
    with Lease(directory, "place/", renew_s=1000):
        directory.put(NAME, _of_another_host(owner="other"))
    assert directory.stat(NAME) is not None


def test_a_renewal_that_arrived_unnoticed_is_no_loss(directory: ObjectStore) -> None:
    # GIVEN that our own renewal arrived, and the network failed before the answer
    with Lease(directory, "place/", renew_s=0.05) as lease:
        ours = json.loads(directory.get(NAME)[0])
        directory.put(NAME, json.dumps(ours | {"renewals": 77}).encode())
        time.sleep(0.4)
        lease.check()


def test_a_network_that_fails_for_a_while_costs_nothing(
    directory: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(directory, "place/", renew_s=0.02) as lease:
        with monkeypatch.context() as patch:
            patch.setattr(directory, "replace", _fail)
            time.sleep(0.2)
        time.sleep(0.2)
        lease.check()


def test_waiting_ends_when_the_work_is_done(directory: ObjectStore) -> None:
    directory.create(NAME, _of_another_host())
    with Lease(directory, "place/", give_up=lambda: True) as lease:
        assert not lease.held
    assert directory.stat(NAME) is not None


def _fail(*_: object) -> str:
    raise OutageError("the network is down")
