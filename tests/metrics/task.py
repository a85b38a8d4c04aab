"""A task as the entry point runs it, without TensorFlow. Not a test: the tests start it.

Usage: task.py KIND STORE. Kinds:
    ends       is done at once
    fails      with a mistake of the user's
    gauges    waits for a line of standard input, has its last figure then, and is done
    diverges   the same, but that figure is a mistake of the user's
    stops      waits until SIGTERM stops it
    trains     multiplies matrices until it is killed; for each line of standard input it prints its steps, the
               clock, seconds of processor time that the server took, and the number of threads
    gpu        has one GPU, of which a stand-in for TensorFlow tells; at the end of standard input it prints what the
               manifest would have
"""

import json
import sys
import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from bertline.errors import UserError
from bertline.metrics import gpus, tasks
from bertline.stage import entrypoints
from bertline.stage.configs import Label, StageConfig
from bertline.store import provenances
from bertline.store.realizations import Outcome, realize

gpus.EVERY_S, gpus.KEPT_S = 0.05, 1.0


class Config(StageConfig):
    STAGE: ClassVar[str] = "pretrain"
    ALGORITHM_VERSION: ClassVar[int] = 1
    INPUTS: ClassVar[tuple[str, ...]] = ()

    kind: str
    label: Label


class FakeTensorFlow:
    """The four functions that are asked for a GPU, and a growing peak."""

    def __init__(self):
        self.asked = 0
        self.config = SimpleNamespace(
            list_physical_devices=lambda kind: [kind],
            experimental=SimpleNamespace(
                get_device_details=lambda device: {"device_name": "NVIDIA L4"}, get_memory_info=self._info
            ),
        )

    def _info(self, device):
        assert device == "GPU:0"
        self.asked += 1
        return {"current": 1000, "peak": 5000 + self.asked}


def train(gauges):
    matrix = np.random.default_rng(1).random((128, 128))
    threading.Thread(target=tell, args=(gauges,), daemon=True).start()
    while True:
        begun = time.perf_counter()
        matrix @ matrix
        gauges.count(steps=1, sequences=8, tokens=128, seconds=time.perf_counter() - begun, waited_s=0.0, flops=1.0)
        gauges.step = gauges.counts.steps


def tell(gauges):
    servers = [thread for thread in threading.enumerate() if thread.name == "metrics"]
    clocks = [time.pthread_getcpuclockid(server.ident) for server in servers]
    for _ in sys.stdin:
        said = (gauges.counts.steps, time.monotonic(), sum(map(time.clock_gettime, clocks)), threading.active_count())
        print(*said, flush=True)  # noqa: T201


def gpu(gauges):
    tensorflow = FakeTensorFlow()
    gauges.memory.attach(tensorflow)
    gauges.flops_per_second = 6e12
    sys.stdin.readline()
    print(json.dumps(gauges.memory.settle()), json.dumps(provenances.provenance()), sep="\n", flush=True)  # noqa: T201


def run(config, store):
    gauges = tasks.begin(config.STAGE, config.label, config.derivation().key)

    def build(build):
        match config.kind:
            case "fails":
                raise UserError("this can't work")
            case "gauges" | "diverges":
                gauges.evaluation_accuracies["1"] = 0.75
                gauges.await_scrape = True
                sys.stdin.readline()
                gauges.evaluation_accuracies["1"] = 0.875
                if config.kind == "diverges":
                    raise UserError("the loss isn't finite")
            case "stops":
                time.sleep(600)
            case "trains":
                gauges.enter("training")
                train(gauges)
            case "gpu":
                gpu(gauges)
        return Outcome({}, {})

    return realize(store, config.derivation(), build)


if __name__ == "__main__":
    kind, uri = sys.argv[1:]
    if kind == "gpu":
        entrypoints.at_end(lambda _: sys.stdin.read())  # comes after what is put there later
    document = {"kind": kind, "label": {"experiment": "test", "run": "6L", "model": "6L", "epoch": 10}}
    sys.exit(entrypoints.main(Config, run, ["--store", uri, "--config", json.dumps(document)]))
