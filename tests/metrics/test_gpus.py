"""A GPU without one: a stand-in for the driver's library, compiled here, under the real nvidia-ml-py."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bertline.metrics import gpus
from support import scrapes

GPU_SERIES = {
    "bertline_gpu_present",
    "bertline_gpu_allocator_bytes{gpu=0}",
    "bertline_gpu_allocator_peak_bytes{gpu=0}",
    "bertline_gpu_memory_used_bytes{gpu=0}",
    "bertline_gpu_memory_total_bytes{gpu=0}",
    "bertline_gpu_utilization_ratio{gpu=0}",
    "bertline_gpu_errors_total",
}


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The folder of the stand-in."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml.c")
    command = [compiler, "-shared", "-fPIC", "-w", "-o", folder / "libnvidia-ml.so.1", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def state(tmp_path):
    """Sets the devices' state."""

    def change(code=0, used=3_000_000_000):
        new = tmp_path / "new"
        new.write_text(f"{code} {used}")
        new.replace(tmp_path / "state")

    change()
    return change


@pytest.fixture
def driver(library, state, tmp_path):
    """The environment in which the stand-in is found."""
    return {"LD_LIBRARY_PATH": str(library), "NVML_STATE": str(tmp_path / "state")}


def of_gpu(text):
    found = scrapes.values(text)
    return {name: value for name, value in found.items() if "gpu_" in name.partition("{")[0]}


def wait_for(url, condition, seconds=30):
    """GPU series of the first scrape that fulfils it."""

    def scrape():
        found = of_gpu(scrapes.get(url)[2])
        return found if condition(found) else None

    return scrapes.wait(scrape, seconds)


def test_units_and_names(start, driver):
    url = scrapes.url(start("gpu", **driver))
    found = wait_for(url, lambda found: found.keys() == GPU_SERIES)
    peak = found.pop("bertline_gpu_allocator_peak_bytes{gpu=0}")
    assert peak > 5000
    assert found == {
        "bertline_gpu_present": 1,
        "bertline_gpu_allocator_bytes{gpu=0}": 1000,
        "bertline_gpu_memory_used_bytes{gpu=0}": 3_000_000_000,
        "bertline_gpu_memory_total_bytes{gpu=0}": 24 * 2**30,
        "bertline_gpu_utilization_ratio{gpu=0}": 0.37,
        "bertline_gpu_errors_total": 0,
    }
    everything = scrapes.values(scrapes.get(url)[2])
    assert any("gpu=NVIDIA L4," in name for name in everything if name.startswith("bertline_info"))
    assert everything["bertline_model_flop_utilization_ratio"] == pytest.approx(6e12 / 60e12)


def test_the_manifest_has_the_metrics_last_numbers(start, driver, state):
    process = start("gpu", **driver)
    url = scrapes.url(process)
    wait_for(url, lambda found: found.keys() == GPU_SERIES)
    state(used=7_000_000_000)
    wait_for(url, lambda found: found.get("bertline_gpu_memory_used_bytes{gpu=0}") == 7_000_000_000)
    state(used=2_000_000_000)
    wait_for(url, lambda found: found.get("bertline_gpu_memory_used_bytes{gpu=0}") == 2_000_000_000)
    process.stdin.write("\n")
    process.stdin.flush()
    measured, provenance = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
    assert process.stdout.readline().startswith("pretrain ")  # it is done, and its process stays
    scrapes.wait(lambda: scrapes.values(scrapes.get(url)[2])["bertline_phase{phase=finishing}"])
    last = scrapes.values(scrapes.get(url)[2])
    assert last["bertline_gpu_allocator_peak_bytes{gpu=0}"] == measured["gpu_memory_peak_bytes"] > 5000
    assert last["bertline_host_memory_peak_bytes"] == measured["host_memory_peak_bytes"]
    assert last["bertline_gpu_present"] == measured["gpu_present"] == 1
    assert measured["gpu_device_peak_bytes"] == 7_000_000_000
    assert (provenance["gpu"], provenance["gpu_driver"]) == ("NVIDIA L4", "535.183.01")


def test_a_driver_that_goes_away_is_counted_and_its_numbers_disappear(start, driver, state):
    url = scrapes.url(start("gpu", **driver))
    wait_for(url, lambda found: found.keys() == GPU_SERIES)
    state(15)
    gone = {"bertline_gpu_present", "bertline_gpu_errors_total"} | {name for name in GPU_SERIES if "allocator" in name}
    found = wait_for(url, lambda found: found.keys() == gone)
    assert found["bertline_gpu_errors_total"] >= 1
    assert found["bertline_gpu_present"] == 1
    state(0)
    found = wait_for(url, lambda found: found.keys() == GPU_SERIES)  # it is back
    assert found["bertline_gpu_errors_total"] >= 1


def test_a_driver_that_hangs_holds_up_no_scrape(start, driver, state):
    process = start("gpu", **driver)
    url = scrapes.url(process)
    wait_for(url, lambda found: found.keys() == GPU_SERIES)
    state(1000)
    found = wait_for(url, lambda found: "bertline_gpu_memory_used_bytes{gpu=0}" not in found)
    assert "bertline_gpu_allocator_bytes{gpu=0}" in found
    process.stdin.close()
    assert process.wait(30) == 0  # nor the task's end


def test_a_device_that_doesnt_tell_its_utilization(start, driver, state):
    state(1001)
    url = scrapes.url(start("gpu", **driver))
    found = wait_for(url, lambda found: found.keys() == GPU_SERIES - {"bertline_gpu_utilization_ratio{gpu=0}"})
    assert found["bertline_gpu_errors_total"] == 0


@pytest.mark.parametrize("devices", ["1", "1,0", "GPU-second"])
def test_the_first_visible_device_is_looked_at(start, driver, devices):
    url = scrapes.url(start("gpu", CUDA_VISIBLE_DEVICES=devices, **driver))
    found = wait_for(url, lambda found: found.keys() == GPU_SERIES)
    assert found["bertline_gpu_memory_total_bytes{gpu=0}"] == 16 * 2**30
    assert found["bertline_gpu_memory_used_bytes{gpu=0}"] == 2**30


@pytest.mark.parametrize(
    ("devices", "first"), [(None, "0"), ("", None), ("-1", None), ("3,1", "3"), (" GPU-ab , 1", "GPU-ab")]
)
def test_visible_devices(devices, first):
    assert gpus.visible(devices) == first


def present(code, **environment):
    """What a sampler of a fresh process finds."""
    program = f"""
import time
from bertline.metrics import gpus
gpus.EVERY_S = 0.05
sampler = gpus.Sampler()
until = time.monotonic() + 20
while sampler.present is None and time.monotonic() < until:
    time.sleep(0.01)
print({code})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_no_library_no_gpu():
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    assert present("sampler.present, sampler.sample()") == "False None"


def test_a_library_without_a_driver_is_no_gpu(driver, state):
    state(9)
    assert present("sampler.present, sampler.sample()", **driver) == "False None"


def test_hidden_devices_are_none(driver):
    assert present("sampler.present", CUDA_VISIBLE_DEVICES="-1", **driver) == "False"
    assert present("sampler.present", **driver) == "True"
