"""A real Prometheus on loopback (Debian's package), with the targets, rules and configuration that a test gives it.

    with Prometheus(tmp_path, {"bertline": [exporter.address]}, rules=[RULES], interval="1s") as server:
        server.wait_for("bertline_training_step > 0")
        server.queries.at(...)         # bertline_pipelines.monitoring.queries.Prometheus
        server.targets(), server.rules(), server.alerts()

Its data are in the folder: started again there, it has them still. Debian's build knows no kubernetes_sd.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from bertline_pipelines.monitoring import queries
from bertline_pipelines.monitoring.queries import Series

BINARY = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(not BINARY, reason="needs prometheus, as in Debian's package of that name")
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="needs promtool, as in Debian's package prometheus")


class Prometheus:
    """See the module."""

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, Sequence[str]] | None = None,
        *,
        rules: Iterable[Path] = (),
        interval: str = "1s",
        scrape_configs: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """`targets`: job → addresses. `scrape_configs`: whole ones, beside those that follow from `targets`."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
            for job, addresses in (targets or {}).items()
        ]
        self.config: dict[str, Any] = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(path.resolve()) for path in rules],
            "scrape_configs": [*jobs, *scrape_configs],
        }
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Prometheus":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def queries(self) -> queries.Prometheus:
        return queries.Prometheus(self.url)

    def start(self) -> None:
        if not BINARY:
            pytest.skip("needs prometheus, as in Debian's package of that name")
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{address}"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    BINARY,
                    f"--config.file={file}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    "--storage.tsdb.retention.time=10y",
                    f"--web.listen-address={address}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
            self._process = None

    def query(self, expr: str) -> list[Series]:
        """What a query is now."""
        return self.queries.at(expr, time.time())

    def wait_for(self, expr: str, seconds: float = 30) -> list[Series]:
        """What a query is, as soon as it is anything."""
        for _ in range(int(seconds / 0.1)):
            if found := self.query(expr):
                return found
            time.sleep(0.1)
        raise AssertionError(f"{expr} is nothing after {seconds} s; targets: {self.targets()}; log: {self.log()}")

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes."""
        found: list[dict[str, Any]] = self._get("targets", state="active")["activeTargets"]
        return found

    def dropped(self) -> list[dict[str, Any]]:
        """What discovery found and relabelling dropped."""
        found: list[dict[str, Any]] = self._get("targets", state="dropped")["droppedTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with health and last error."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """What is pending or fires."""
        found: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return found

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]

    def _get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(300):
            assert process.poll() is None, f"Prometheus ended at once: {self.log()}"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                return
            time.sleep(0.1)
        self.stop()
        raise AssertionError(f"Prometheus isn't ready: {self.log()}")


def backfill(folder: Path, exposition: str) -> None:
    """Make samples of the past, in OpenMetrics' text with timestamps, part of a Prometheus that isn't started yet."""
    file = folder / "history.txt"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(exposition, encoding="utf-8")
    assert PROMTOOL is not None
    command = [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", str(file), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
