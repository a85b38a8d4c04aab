"""Serves a made-up training's metrics as its pods would, in real time; on loopback, all pods behind one address."""

import threading
import time
from collections.abc import Iterable
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from support import histories


class Exporter:
    """What all pods that are there `at` seconds after the training began show, from then on in real time."""

    def __init__(self, at: float, *, gpu: bool) -> None:
        self.at, self.gpu = at, gpu
        self.epoch = time.time() - at
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None
        self.address = ""

    def __enter__(self) -> "Exporter":
        registry = CollectorRegistry()
        registry.register(self)
        self._server, self._thread = start_http_server(0, "127.0.0.1", registry)
        self.address = f"127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server
        assert self._thread
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def describe(self) -> list[Metric]:
        return []  # or the registry would collect once, only to learn names

    def collect(self) -> Iterable[Metric]:
        at = time.time() - self.epoch
        families: dict[str, Metric] = {}
        for pod in histories.pods(self.gpu):
            if pod.begin <= at <= pod.end:
                place = {"pod": pod.name, "namespace": "kubeflow"}
                for sample in histories.samples(pod, at, self.epoch):
                    family = families.setdefault(sample.metric, _family(sample.metric))
                    family.add_sample(sample.metric, sample.labels | place, sample.value)
                if self.gpu:
                    used = families.setdefault("DCGM_FI_DEV_FB_USED", _family("DCGM_FI_DEV_FB_USED"))
                    # As it looks where DCGM's exporter is scraped without honorLabels.
                    labels = {"gpu": "0", "pod": "dcgm", "namespace": "gpu-operator"}
                    labels |= {f"exported_{name}": value for name, value in place.items()}
                    used.add_sample("DCGM_FI_DEV_FB_USED", labels, pod.model.peak / 2**20 + 400)
        return families.values()


def _family(metric: str) -> Metric:
    if metric.endswith("_total"):
        return CounterMetricFamily(metric.removesuffix("_total"), "made up")
    return GaugeMetricFamily(metric, "made up")
