"""A real pre-training process, scraped over HTTP from its first second to its last."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
from dataclasses import dataclass, field

import pytest
from prometheus_client.openmetrics import parser as openmetrics

from bertline.experiment.specs import Checkpoints
from bertline.metrics import gauges
from bertline.models import flops
from bertline.store.backends import connect
from bertline.store.realizations import find
from support import held, scrapes, tiny_corpora

pytestmark = pytest.mark.slow  # TensorFlow starts several times

STEPS = 500  # an epoch's; both take longer than a page is kept for


@dataclass
class Seen:
    """What the scraper saw."""

    texts: list[str] = field(default_factory=list)
    healths: list[tuple[int, dict]] = field(default_factory=list)
    openmetrics: str = ""
    lines: list[str] = field(default_factory=list)
    """What the process printed after it had begun to serve."""
    ended_after_s: float = 0.0
    code: int | None = None
    manifest: object = None
    config: object = None

    @property
    def scrapes(self):
        return [scrapes.values(text) for text in self.texts]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    store = connect(str(folder / "store"))
    config = tiny_corpora.config(*tiny_corpora.write(store), STEPS)
    config = config.model_copy(update={"checkpoints": Checkpoints(every_steps=50, every_minutes=60)})
    (folder / "config.json").write_text(config.model_dump_json())
    program = [sys.executable, held.__file__, "pretrain", "--store", store.uri, "--config", f"@{folder}/config.json"]
    environment = {"BERTLINE_METRICS_ADDRESS": "127.0.0.1:0", "BERTLINE_METRICS_LINGER_S": "120"}
    process = subprocess.Popen(
        program, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    result = Seen(config=config)
    try:
        url = scrapes.url(process)
        reader = threading.Thread(target=lambda: result.lines.extend(process.stdout))
        reader.start()
        while not any(line.startswith("pretrain ") for line in result.lines):
            assert process.poll() is None, result.lines
            result.texts.append(scrapes.get(url)[2])
            result.healths.append(scrapes.health(url))
            time.sleep(0.1)
        time.sleep(1.5)  # more than a page is kept for
        result.texts.append(scrapes.get(url)[2])
        result.openmetrics = scrapes.get(url, accept="application/openmetrics-text; version=1.0.0")[2]
        result.healths.append(scrapes.health(url))
        process.stdin.close()
        began = time.monotonic()
        result.code = process.wait(60)
        result.ended_after_s = time.monotonic() - began
        reader.join()
        with pytest.raises(urllib.error.URLError), contextlib.suppress(ConnectionResetError):
            scrapes.get(url)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    result.manifest = find(store, "pretrain", config.derivation().key).manifest
    return result


def test_it_is_scraped_before_tensorflow_and_while_it_trains(seen):
    first = seen.scrapes[0]
    assert first["bertline_phase{phase=staging}"] + first["bertline_phase{phase=starting}"] == 1
    assert first["bertline_training_steps_total"] == 0
    assert first["bertline_host_memory_resident_bytes"] < 300e6  # TensorFlow alone takes more
    assert "bertline_training_loss{kind=total}" not in first
    assert "bertline_last_progress_timestamp_seconds" not in first
    training = [each for each in seen.scrapes if each["bertline_phase{phase=training}"]]
    assert len({each["bertline_training_step"] for each in training}) > 1


def test_a_scrape_has_exactly_one_phase(seen):
    for each in seen.scrapes:
        assert sum(each[f"bertline_phase{{phase={phase}}}"] for phase in gauges.PHASES) == 1


def test_every_series_has_the_rounds_labels_and_no_others_in_common(seen):
    expected = {
        "experiment": "test", "run": "tiny-seed3", "model": "tiny", "stage": "pretrain", "round": "2", "task": ""
    }  # fmt: skip
    assert set().union(*map(scrapes.labels, seen.texts)) == {tuple(sorted(expected.items()))}


def test_the_last_scrape_is_what_the_manifest_says(seen):
    last, results, measured = seen.scrapes[-1], seen.manifest.results, seen.manifest.measurements
    assert last["bertline_training_step"] == last["bertline_training_steps_total"] == results["step"] == 2 * STEPS
    assert (last["bertline_training_first_step"], last["bertline_training_last_step"]) == (0, 2 * STEPS)
    assert last["bertline_training_sequences_total"] == results["sequences"]
    assert last["bertline_training_tokens_total"] == results["tokens"]
    assert last["bertline_training_seconds_total"] == pytest.approx(measured["wall_clock_s"])
    assert last["bertline_training_data_wait_seconds_total"] == pytest.approx(
        measured["data_wait_share"] * measured["round_wall_clock_s"]
    )
    assert last["bertline_training_epoch"] == 2
    assert last["bertline_model_parameters"] == results["parameters"]["total"]
    held_out = results["epochs"][-1]["held_out"]
    for kind in ("mlm", "nsp"):
        assert last[f"bertline_held_out_loss{{kind={kind}}}"] == held_out[f"{kind}_loss"]
        assert last[f"bertline_held_out_accuracy{{kind={kind}}}"] == held_out[f"{kind}_accuracy"]
    assert last["bertline_host_memory_peak_bytes"] == measured["host_memory_peak_bytes"]
    assert last["bertline_gpu_present"] == measured["gpu_present"]
    assert last["bertline_checkpoint_pause_seconds_total"] == pytest.approx(measured["checkpoint_pause_s"])


def test_its_numbers_make_sense(seen):
    last = seen.scrapes[-1]
    total, mlm, nsp = (last[f"bertline_training_loss{{kind={kind}}}"] for kind in ("total", "mlm", "nsp"))
    assert total == pytest.approx(mlm + nsp, rel=1e-4)
    assert 0 < mlm < 5.4  # it began with the logarithm of 200 pieces
    assert 0 <= last["bertline_training_accuracy{kind=mlm}"] <= 1
    assert last["bertline_learning_rate"] == pytest.approx(3e-3)
    assert last["bertline_batch_size"] == 8
    rate = last["bertline_training_sequences_total"] / last["bertline_training_seconds_total"]
    work = flops.pretraining(seen.config.model, tiny_corpora.LENGTH, 3, tiny_corpora.PIECES, next_sentence=True)
    assert last["bertline_model_flops_per_second"] == pytest.approx(work * rate, rel=0.9)
    assert last["bertline_checkpoints_total"] >= 1
    assert last["bertline_checkpoint_failures_total"] == 0
    assert last["bertline_checkpoint_last_bytes"] > 3 * 4 * last["bertline_model_parameters"]
    assert last["bertline_checkpoint_interval_seconds"] == 3600
    assert abs(last["bertline_checkpoint_last_success_timestamp_seconds"] - time.time()) < 600
    assert abs(last["bertline_last_progress_timestamp_seconds"] - time.time()) < 600
    assert (last["bertline_attempt"], last["bertline_repeated_steps"]) == (1, 0)
    assert last["bertline_stall_limit_seconds"] == gauges.STALLED_S
    assert last["bertline_host_memory_resident_bytes"] > 300e6


def test_counters_never_fall(seen):
    counters = {name for name in seen.scrapes[-1] if name.endswith("_total")}
    assert len(counters) == 8
    for name in counters:
        told = [each[name] for each in seen.scrapes if name in each]
        assert told == sorted(told)


def test_without_a_gpu_nothing_is_said_of_one(seen):
    if seen.manifest.measurements["gpu_present"]:
        pytest.skip("this machine has a GPU")
    assert {name for name in seen.scrapes[-1] if "gpu" in name.partition("{")[0]} == {"bertline_gpu_present"}
    assert "gpu=none," in next(name for name in seen.scrapes[-1] if name.startswith("bertline_info"))
    assert not any("utilization" in name for name in seen.scrapes[-1])


def test_promtool_accepts_what_it_says_at_any_time(seen):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool isn't installed (Debian package prometheus)")
    for text in (seen.texts[0], seen.texts[len(seen.texts) // 2], seen.texts[-1]):
        assert scrapes.check(promtool, text) == (0, "")
    assert scrapes.check(promtool, seen.texts[-1].replace("_seconds_total", "_milliseconds"))[0] != 0


def test_openmetrics_on_request(seen):
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(seen.openmetrics)}
    assert families["bertline_training_steps"].type == "counter"
    assert families["bertline_training_steps"].samples[0].value == 2 * STEPS


def test_it_was_healthy_all_the_time(seen):
    assert {(status, document["status"]) for status, document in seen.healths} == {(200, "ok")}
    assert {"starting", "training", "finishing"} <= {document["phase"] for _, document in seen.healths}


def test_it_does_not_wait_for_a_scrape_since_its_last_values_are_in_the_manifest(seen):
    assert seen.ended_after_s < 30  # of 120
    assert seen.code == 0


def test_nothing_but_the_address_is_printed_for_it(seen):
    assert not [line for line in seen.lines if re.search("metric|scrape|nvml", line, re.IGNORECASE)]
