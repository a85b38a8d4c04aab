"""A made-up training: what its pods would show at any moment, on a GPU or without.

Two runs with two rounds each, an evaluation after every round, a restart in the middle. It stands in for pods where the
question is what is asked of their metrics; what pods really show is tested where the metrics are.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

GIB = 2**30
EXPERIMENT = "made-up"


@dataclass(frozen=True)
class Model:
    run: str
    layers: int
    batch: int
    peak: int
    seconds_a_step: float
    parameters: int


MODELS = (
    Model("3L", 3, 128, 5 * GIB, 0.072, 10_270_000),
    Model("6L", 6, 64, 7 * GIB, 0.085, 12_640_000),
)
STEPS = 50_000
ROUNDS = 2
ROUND_S = 5400.0


@dataclass(frozen=True)
class Pod:
    """One pod, from when it starts to when it is gone; seconds since the training began."""

    model: Model
    stage: str
    round: int
    begin: float
    end: float
    attempt: int = 1
    first_step: int = 0
    gpu: bool = True

    @property
    def labels(self) -> dict[str, str]:
        task = {"task": "MNLI-m"} if self.stage == "evaluate" else {}
        return {
            "experiment": EXPERIMENT,
            "run": self.model.run,
            "model": self.model.run,
            "stage": self.stage,
            "round": str(self.round * 10),
        } | task

    @property
    def name(self) -> str:
        return f"{self.model.run.lower()}-{self.stage}-{self.round * 10}-{self.attempt}"


@dataclass(frozen=True)
class Sample:
    metric: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


def pods(gpu: bool = True) -> list[Pod]:
    made = []
    for model in MODELS:
        for number in range(1, ROUNDS + 1):
            begin = (number - 1) * (ROUND_S + 60)
            if model.run == "6L" and number == 2:
                killed = begin + 0.4 * ROUND_S
                done = STEPS * (number - 1) + int(0.36 * STEPS)
                made.append(Pod(model, "pretrain", number, begin, killed, gpu=gpu))
                made.append(Pod(model, "pretrain", number, killed + 90, begin + ROUND_S + 400, 2, done, gpu=gpu))
            else:
                made.append(Pod(model, "pretrain", number, begin, begin + ROUND_S, gpu=gpu))
            made.append(Pod(model, "evaluate", number, begin + ROUND_S + 60, begin + ROUND_S + 1200, gpu=gpu))
    return made


def samples(pod: Pod, at: float, epoch: float) -> Iterator[Sample]:
    """What a pod shows `at` seconds after the training began, which was at `epoch`."""
    for metric, value, *labels in _values(pod, at, epoch):
        yield Sample(f"bertline_{metric}", float(value), pod.labels | (labels[0] if labels else {}))


def exposition(gpu: bool, epoch: float, until: float, every: float = 15.0) -> str:
    """All of it as OpenMetrics' text with timestamps, for `promtool tsdb create-blocks-from openmetrics`."""
    found: dict[str, list[str]] = {}
    for pod in pods(gpu):
        at = pod.begin
        while at <= min(pod.end, until):
            for sample in samples(pod, at, epoch):
                labels = sample.labels | {"pod": pod.name, "namespace": "kubeflow", "instance": pod.name}
                found.setdefault(sample.metric, []).append(
                    f"{sample.metric}{_braces(labels)} {sample.value!r} {epoch + at}\n"
                )
            at += every
    lines = []
    for metric, its in found.items():
        family, kind = (metric.removesuffix("_total"), "counter") if metric.endswith("_total") else (metric, "gauge")
        lines += [f"# TYPE {family} {kind}\n", *its]
    return "".join([*lines, "# EOF\n"])


def _braces(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def _values(pod: Pod, at: float, epoch: float) -> Iterator[tuple]:
    model, age = pod.model, at - pod.begin
    is_pretrain = pod.stage == "pretrain"
    first = STEPS * (pod.round - 1) if is_pretrain else 0
    last = STEPS * pod.round if is_pretrain else 36_000
    training = max(0.0, age - 60)  # staging and starting come first
    share = min(
        1.0, training / max(1.0, (pod.end if pod.end - pod.begin < ROUND_S else pod.begin + ROUND_S) - pod.begin - 120)
    )
    if is_pretrain:
        speed = 0.93 * STEPS / (ROUND_S - 120)
        step = min(last, max(first, pod.first_step) + int(training * speed))
    else:
        speed, step = last / (pod.end - pod.begin - 120), int(last * share)
    done = step - max(first, pod.first_step)
    busy = done / speed
    gpu_name = "NVIDIA L4" if pod.gpu else ""
    key = f"{abs(_number(pod.name)):012x}"[:12]
    about = {
        "image": f"bertline-{pod.stage}:cuda-3f9a51",
        "version": "0.4.0",
        "revision": "eae348b",
        "processor": "x86_64",
    }
    yield "info", 1, about | {"gpu": gpu_name, "key": key}
    phase = "staging" if age < 30 else "starting" if age < 60 else "training" if step < last else "saving"
    if phase == "training" and is_pretrain and step % 5000 < 120 and step > first:
        phase = "evaluating"
    for each in ("staging", "starting", "training", "evaluating", "saving", "finishing"):
        yield "phase", int(each == phase), {"phase": each}
    yield "attempt", pod.attempt
    yield "last_progress_timestamp_seconds", epoch + at - 2
    yield "stall_limit_seconds", 300
    yield "gpu_present", int(pod.gpu)
    resident = (2.2 + 0.3 * model.layers / 6) * GIB * (0.4 + 0.6 * min(1, age / 90))
    yield "host_memory_resident_bytes", resident + 2e7 * math.sin(at / 100)
    yield "host_memory_peak_bytes", resident + 2e7
    yield "host_memory_limit_bytes", (8 if is_pretrain else 6) * GIB
    if age < 60:
        return
    wobble = math.sin(at / 37) + 0.5 * math.sin(at / 11)
    yield "training_step", step
    yield "training_first_step", first
    yield "training_last_step", last
    yield "training_steps_total", done
    yield "training_sequences_total", done * model.batch
    yield "training_tokens_total", done * model.batch * 117
    yield "training_seconds_total", busy
    yield (
        "training_data_wait_seconds_total",
        busy * (0.02 if model.run == "3L" else 0.05) + 3 * math.sin(busy / 400) ** 2,
    )
    yield "batch_size", model.batch if is_pretrain else 32
    yield "model_parameters", model.parameters
    if is_pretrain:
        yield from _pretraining(pod, age, step, wobble, epoch)
    else:
        yield from _fine_tuning(pod, step, share, wobble)
    flops = 6 * model.parameters * model.batch * 128 / model.seconds_a_step * (1 + 0.01 * wobble)
    yield "model_flops_per_second", flops
    if pod.gpu:
        yield from _gpu(pod, flops, wobble)


def _pretraining(pod: Pod, age: float, step: int, wobble: float, epoch: float) -> Iterator[tuple]:
    model = pod.model
    yield "training_epoch", step // 5000
    mlm = 2.1 + 5.6 * math.exp(-step / 16_000) + (0.25 if model.run == "3L" else 0) + 0.03 * wobble
    nsp = 0.25 + 0.44 * math.exp(-step / 30_000) + 0.008 * wobble
    for kind, value in (("mlm", mlm), ("nsp", nsp), ("total", mlm + nsp)):
        yield "training_loss", value, {"kind": kind}
    for kind, value in (("mlm", math.exp(-0.55 * mlm) + 0.2), ("nsp", 1 - 0.6 * nsp)):
        yield "training_accuracy", value, {"kind": kind}
    if step // 5000:
        ended = step // 5000 * 5000
        loss = 2.16 + 5.6 * math.exp(-ended / 16_000) + (0.25 if model.run == "3L" else 0)
        for kind, value in (("mlm", loss), ("nsp", 0.27 + 0.44 * math.exp(-ended / 30_000))):
            yield "held_out_loss", value, {"kind": kind}
        for kind, value in (("mlm", math.exp(-0.55 * loss) + 0.2), ("nsp", 0.9 - 0.3 * math.exp(-ended / 30_000))):
            yield "held_out_accuracy", value, {"kind": kind}
    yield "learning_rate", 1e-4 * min(1, step / 10_000, 1.1 * (1 - step / (1.02 * STEPS * ROUNDS)) + 0.02)
    saved = (age - 60) // 600 * 600
    yield "checkpoints_total", saved // 600
    yield "checkpoint_failures_total", int(model.run == "6L" and age > 2400)
    yield "checkpoint_interval_seconds", 600
    yield "checkpoint_pause_seconds_total", saved / 600 * 1.7
    if saved:
        yield "checkpoint_last_success_timestamp_seconds", epoch + pod.begin + 60 + saved
        yield "checkpoint_last_duration_seconds", 6 + model.layers / 3 + wobble / 2
        yield "checkpoint_last_bytes", model.parameters * 12
    yield "repeated_steps", 900 if pod.attempt > 1 else 0


def _fine_tuning(pod: Pod, step: int, share: float, wobble: float) -> Iterator[tuple]:
    yield "training_loss", 0.62 + 0.5 * math.exp(-step / 9000) + 0.02 * wobble, {"kind": "total"}
    for seed in (1, 2, 3):
        if share > seed / 3 - 0.02:
            accuracy = 0.56 + 0.045 * pod.round + (0.012 if pod.model.run == "6L" else 0) + 0.002 * seed
            yield "evaluation_accuracy", accuracy, {"seed": str(seed)}


def _gpu(pod: Pod, flops: float, wobble: float) -> Iterator[tuple]:
    gpu = {"gpu": "0"}
    peak = pod.model.peak if pod.stage == "pretrain" else 3 * GIB
    yield "model_flop_utilization_ratio", flops / 60e12
    yield "gpu_allocator_bytes", 0.82 * peak + 1e8 * wobble, gpu
    yield "gpu_allocator_peak_bytes", peak, gpu
    yield "gpu_memory_used_bytes", 1.25 * peak + 6e8, gpu
    yield "gpu_memory_total_bytes", 23034 * 2**20, gpu
    yield "gpu_utilization_ratio", max(0, min(1, 0.86 + 0.05 * wobble)), gpu
    yield "gpu_errors_total", 0


def _number(text: str) -> int:
    return sum(ord(character) * 31**index for index, character in enumerate(text))
