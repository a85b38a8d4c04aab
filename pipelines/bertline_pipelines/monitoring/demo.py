"""The whole monitoring on one machine: a small training, a Prometheus that scrapes it, and the page with its panels.

    python -m bertline_pipelines.monitoring.demo out/monitoring

`make monitoring-demo` runs it. Its other files are in a scratch folder, which is deleted at the end.
"""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from os import environ
from pathlib import Path
from typing import Any

import yaml

import bertline_pipelines
from bertline.errors import BertlineError, ExitCode, TransientError, UserError
from bertline.experiment import specs
from bertline_pipelines.monitoring import manifests, pages

NAME = "monitoring-demo"
INTERVAL_S = 1
"""Seconds between two scrapes; the demo takes a few minutes."""
DRAW_S = 15.0
"""Seconds between two versions of the page."""
READY_S = 30.0
END_S = 20.0
"""Seconds that the experiment has to save after SIGINT, and Prometheus after SIGTERM."""

CHANGES: dict[str, dict[str, Any]] = {
    "corpus": {"duplicates": 1},
    "pretrain": {
        "epochs": 2,
        "epochs_per_round": 2,
        "steps_per_epoch": 100,
        "checkpoints": {"every_steps": 20, "every_minutes": 1},
    },
    "evaluate": {"epochs": 1, "max_train_examples": 960},
}
"""Changes to nano; the demo doesn't have to learn anything."""


def run(out: Path) -> Path:
    """Train, and draw the page repeatedly after the first scrape; return the page's path.

    Raises:
        UserError: Prometheus isn't installed, or the experiment failed; its output says why.
        TransientError: Prometheus doesn't start.
    """
    binary = shutil.which("prometheus")
    if not binary:
        raise UserError("the demo needs Prometheus, but `prometheus` isn't in PATH: apt-get install prometheus")
    since, page = datetime.now(UTC), out / "index.html"
    out.mkdir(parents=True, exist_ok=True)
    page.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
        scratch = Path(directory)
        address = f"127.0.0.1:{_free_port()}"
        with _prometheus(binary, scratch, address) as url, _experiment(scratch, out, address) as process:
            _say(f"metrics: http://{address}/metrics   Prometheus: {url}   page, updated all the time: {page}")
            _say(f"live, in another terminal:  bertline dashboard {NAME} --metrics http://{address}/metrics")
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(DRAW_S)
                with contextlib.suppress(UserError):  # there are no samples yet
                    pages.write(url, NAME, page, since)
        if process.returncode:
            raise UserError(f"the experiment failed with exit code {process.returncode}; its logs are in {out}/logs")
    return page


def experiment(folder: Path) -> Path:
    """Write the experiment file."""
    document = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text(encoding="utf-8"))
    name, model = next(iter(document["models"].items()))
    document |= {"name": NAME, "description": "A training to watch.", "models": {name: model}}
    for section, values in CHANGES.items():
        document[section] |= values
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    specs.load(path)
    return path


@contextlib.contextmanager
def _experiment(scratch: Path, out: Path, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one task at a time, so that one address is enough."""
    command = [str(Path(sys.executable).with_name("bertline")), "run", str(experiment(scratch)), "--workers", "1"]
    command += ["--store", str(scratch / "store"), "--out", str(out)]
    told = {"BERTLINE_METRICS_ADDRESS": address, "BERTLINE_METRICS_LINGER_S": str(3 * INTERVAL_S)}
    process = subprocess.Popen(command, env=environ | told, start_new_session=True)  # Ctrl-C comes through here
    try:
        yield process
    finally:
        _end(process, signal.SIGINT)


@contextlib.contextmanager
def _prometheus(binary: str, scratch: Path, scraped: str) -> Iterator[str]:
    """Start Prometheus with our rules; its address."""
    config = scratch / "prometheus.yml"
    config.write_text(json.dumps(_config(scraped)), encoding="utf-8")  # JSON is YAML
    listen = f"127.0.0.1:{_free_port()}"
    command = [binary, f"--config.file={config}", f"--storage.tsdb.path={scratch / 'prometheus'}"]
    command += [f"--web.listen-address={listen}", "--log.level=warn"]
    log = scratch / "prometheus.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        url = f"http://{listen}"
        _wait(process, url, log)
        yield url
    finally:
        _end(process, signal.SIGTERM)


def _config(scraped: str) -> dict[str, Any]:
    interval = f"{INTERVAL_S}s"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str((manifests.FOLDER / manifests.RULES).resolve())],
        "scrape_configs": [{"job_name": "bertline", "static_configs": [{"targets": [scraped]}]}],
    }


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=5):
            return
        time.sleep(0.1)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    raise TransientError("\n  ".join((f"Prometheus isn't ready after {READY_S:.0f} s; it said:", *said)))


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(out: str) -> ExitCode:
    """Run the demo as a program."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _say(f"page: {run(Path(out))}")
    except BertlineError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("stopped, with all its processes\n")
        return ExitCode.INTERRUPTED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
