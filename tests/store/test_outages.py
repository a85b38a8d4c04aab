"""A real training against a real object store, which can't be reached for a while: it goes on, to the same bits."""

import json
import os
import signal
import time
from urllib.parse import urlsplit

import pytest

from bertline.experiment.schedules import Constant
from bertline.experiment.specs import Checkpoints
from bertline.store import attempts, realizations
from bertline.store.backends import connect
from bertline.store.leases import Lease
from bertline.store.objects import NotFoundError
from support import forks, paces, tiny_corpora
from support.tcp_proxies import TcpProxy

ENDS_S = 900
FASTEST = 1 / paces.STEP_S
"""Steps a second; a training has to last longer than the outage."""


@pytest.fixture
def proxy(seaweed):
    proxy = TcpProxy(urlsplit(seaweed).port)
    yield proxy
    proxy.close()


class Training:
    """`python -m bertline.pretrain` with a store behind the proxy, and what is seen of it from outside."""

    def __init__(self, uri, proxy, folder, steps_per_epoch):
        self.store, self.proxy, self.folder = connect(uri), proxy, folder  # this one goes by the direct way
        corpus, vocabulary = tiny_corpora.write(self.store)
        schedule = Constant(schedule="constant", peak=3e-3, warmup_steps=5)
        steps = 2 * steps_per_epoch
        self.config = tiny_corpora.config(corpus, vocabulary, steps_per_epoch).model_copy(
            update={
                "checkpoints": Checkpoints(every_steps=50, every_minutes=60),
                "learning_rate": schedule.of_round(0, steps, [steps]),
            }
        )
        self.prefix = self.config.derivation().prefix
        self.process = self.start(uri, "outage", paces.slow_steps, AWS_ENDPOINT_URL=proxy.url)

    def start(self, uri, name, first=None, **environment):
        self.folder.mkdir(exist_ok=True)
        own = {"BERTLINE_THREADS": "1", "BERTLINE_PROGRESS": str(self.folder / f"{name}.jsonl")}
        with (self.folder / f"{name}.log").open("wb") as log, open(os.devnull) as nothing:
            return forks.Process(
                ["--store", uri, "--config", self.config.model_dump_json()],
                program="bertline.pretrain",
                env=os.environ | own | environment,
                streams=(nothing.fileno(), log.fileno(), log.fileno()),
                first=first,
            )

    @property
    def said(self):
        documents = map(json.loads, (self.folder / "outage.jsonl").read_text().splitlines())
        return [document["say"] for document in documents if "say" in document]

    @property
    def step(self):
        lines = (self.folder / "outage.jsonl").read_text().splitlines()
        return max([json.loads(line).get("done", 0) for line in lines if '"steps"' in line], default=0)

    @property
    def saved(self):
        try:
            return json.loads(self.store.get(f"{self.prefix}rolling/latest.json")[0])["progress"]["step"]
        except NotFoundError:
            return 0

    def wait_until(self, condition):
        begun = time.monotonic()
        while not condition():
            assert self.process.poll() is None, (self.folder / "outage.log").read_text()
            assert time.monotonic() - begun < ENDS_S, (self.folder / "outage.log").read_text()
            time.sleep(0.05)

    def end(self):
        code = self.process.wait(ENDS_S)
        return code, (self.folder / "outage.log").read_text()

    def undisturbed(self, directory):
        """Checksums of the same training on a disk."""
        store = connect(str(directory))
        assert tiny_corpora.write(store) == (self.config.corpus, self.config.vocabulary)
        assert self.start(store.uri, "reference").wait(ENDS_S) == 0
        return self.checksums(store)

    def checksums(self, store=None):
        made = realizations.require(store or self.store, "pretrain", self.config.derivation().key)
        return {file.path: file.sha256 for file in made.manifest.files}, made.manifest.results

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def train(s3_uri, proxy, tmp_path, close):
    started = []

    def start(steps_per_epoch):
        started.append(Training(s3_uri, proxy, tmp_path / "training", steps_per_epoch))
        return started[-1]

    yield start
    for training in started:
        training.close()
        close(training.store)


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        pytest.param("cut", 6, id="cut for 6 s"),
        pytest.param("cut", 120, id="cut for two minutes", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param("hang", 40, id="hangs for 40 s", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_training_goes_on_through_an_outage_to_the_same_bits(train, proxy, tmp_path, kind, seconds):
    training = train(int((seconds + 6) * FASTEST / 2))
    # GIVEN a training that has saved, WHEN the store can't be reached for a while
    training.wait_until(lambda: training.saved >= 100)
    begun, before = time.monotonic(), training.step
    time.sleep(3)
    pace = (training.step - before) / (time.monotonic() - begun)
    getattr(proxy, kind)()
    first, saved, slowest = training.step, training.saved, float("inf")
    for _ in range(seconds // 3):
        before = training.step
        time.sleep(3)
        slowest = min(slowest, (training.step - before) / 3)
    steps = training.step - first
    assert training.process.poll() is None, (tmp_path / "training/outage.log").read_text()
    assert training.saved == saved
    proxy.restore()
    # THEN it didn't stand still, nothing was saved meanwhile, and soon after something is
    assert steps > 0.4 * pace * seconds
    assert slowest > 0.1 * pace, "it stood still for seconds"
    training.wait_until(lambda: training.saved > saved or training.process.poll() is not None)
    # AND it ends well, in the bits of one that nothing happened to
    code, log = training.end()
    assert code == 0, log
    assert "can't be saved now, training continues" in log or "the work continues without writing" in log
    assert "earlier ones failed" in log or "the store answers again" in log
    assert training.checksums() == training.undisturbed(tmp_path / "other")
    (attempt,) = attempts.read(training.store, training.prefix)
    assert {"checkpoint", "epoch", "finished"} <= {event["event"] for event in attempt.events}


def test_a_round_that_ends_in_an_outage_waits_and_is_committed(train, proxy):
    training = train(300)
    training.wait_until(lambda: training.saved >= 50)
    proxy.cut()
    training.wait_until(lambda: any("waiting for the store" in sentence for sentence in training.said))
    assert training.step == 600
    time.sleep(2)
    proxy.restore()
    code, log = training.end()
    assert code == 0, log
    assert "the store answers again" in log
    assert training.checksums()[1]["step"] == 600


@pytest.mark.parametrize("kind", ["cut", pytest.param("hang", marks=pytest.mark.slow)])
def test_a_stop_during_an_outage_ends_in_bounded_time_and_says_what_is_saved(train, proxy, kind):
    training = train(100_000)
    training.wait_until(lambda: training.saved >= 50)
    getattr(proxy, kind)()
    time.sleep(2)
    saved, told = training.saved, time.monotonic()
    training.process.send_signal(signal.SIGTERM)
    code, log = training.end()
    assert time.monotonic() - told < 90
    assert code == 76, log
    assert f"the same command continues from step {saved:,}" in log
    assert "couldn't be saved" in log


@pytest.mark.slow
def test_who_was_cut_off_while_another_took_over_writes_nothing(train, proxy, close, s3_uri):
    """The lease decides when an attempt is over: alone in its outage, the holder loses it to whoever waits for it."""
    training = train(100_000)
    training.wait_until(lambda: training.saved >= 50)
    proxy.cut()
    saved = training.saved
    began = time.monotonic()
    other = connect(s3_uri)
    lease = f"{training.prefix}lease.json"
    content, version = other.get(lease)
    other.replace(
        lease, json.dumps(json.loads(content) | {"host": "elsewhere"}).encode(), version
    )  # no process of ours
    with Lease(other, training.prefix):
        assert time.monotonic() - began < 22
        proxy.restore()
        code, log = training.end()
        assert code == 75, log
        assert "taken over by another attempt" in log
        assert training.saved == saved
    close(other)
