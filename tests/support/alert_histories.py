"""Made-up histories of metrics: when each alert fires in them, and what each recorded series is."""

from dataclasses import dataclass, field

LABELS = {
    "experiment": "wiki",
    "run": "6L",
    "model": "6L",
    "stage": "pretrain",
    "round": "20",
    "pod": "a",
    "node": "n",
    "namespace": "kubeflow",
}
ROUND = {name: LABELS[name] for name in ("namespace", "experiment", "run", "stage", "round")}
MINUTES = 240
"""What histories hold; a sample a minute. `a+bxn` is n more samples after a, each b higher."""


@dataclass
class Case:
    """A history, and when an alert fires in it."""

    alert: str
    series: dict[str, str]
    """Metric with its own further labels → promtool's notation of its samples."""
    fires: list[int] = field(default_factory=list)
    """Minutes at which it does."""
    silent: list[int] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=lambda: LABELS)
    """Of the alert, severity aside."""


def steady(value):
    return f"{value}x{MINUTES}"


def growing(start, by):
    return f"{start}+{by}x{MINUTES}"


CASES = [
    Case(
        "BertlineTrainingStalled",
        # Progress for an hour, as the clock goes, then none.
        {
            "last_progress_timestamp_seconds": "0+60x60 3600x60",
            "stall_limit_seconds": steady(300),
            'phase{phase="training"}': steady(1),
        },
        fires=[67, 90],
        silent=[30, 60, 64],
    ),
    # A step that takes four minutes, and a limit that knows it.
    Case(
        "BertlineTrainingStalled",
        {
            "last_progress_timestamp_seconds": "0x3 240x3 480x3 720x3 960x3",
            "stall_limit_seconds": steady(1200),
            'phase{phase="training"}': steady(1),
        },
        silent=[3, 7, 11, 15],
    ),
    # Held-out evaluation takes ten minutes; training then goes on at once.
    Case(
        "BertlineTrainingStalled",
        {
            "last_progress_timestamp_seconds": "0+60x10 600x10 1260+60x20",
            "stall_limit_seconds": steady(120),
            'phase{phase="training"}': "1x10 0x9 1x21",
        },
        silent=[5, 12, 15, 19, 20, 21, 23, 30],
    ),
    # The first call never ends; another's takes half an hour.
    Case(
        "BertlineTrainingStalled",
        {"stall_limit_seconds": steady(3600), 'phase{phase="training"}': f"0x4 1x{MINUTES}"},
        fires=[70, 120],
        silent=[10, 50, 64],
    ),
    Case(
        "BertlineTrainingStalled",
        {
            "last_progress_timestamp_seconds": "_x35 2100+60x100",
            "stall_limit_seconds": "3600x34 120x100",
            'phase{phase="training"}': f"0x4 1x{MINUTES}",
        },
        silent=[10, 34, 36, 60, 70, 100],
    ),
    Case(
        "BertlineLossNotFinite",
        # It is the last sample before training gives up.
        {'training_loss{kind="mlm"}': "9-0.1x20 NaN stale", 'training_loss{kind="nsp"}': "0.7x20 0.6 stale"},
        fires=[22, 24],
        silent=[10, 19, 40],
        labels=ROUND,
    ),
    Case(
        "BertlineLossNotFinite",
        {'training_loss{kind="total"}': "9-0.1x10 +Inf +Inf"},
        fires=[11],
        silent=[9],
        labels=ROUND,
    ),
    # One mistake: three kinds of the loss, seen in three pods within minutes.
    Case(
        "BertlineLossNotFinite",
        {
            f'training_loss{{kind="{kind}",pod="{pod}"}}': f"{'_' + 'x' + str(after) + ' ' if after else ''}NaN stale"
            for kind in ("mlm", "nsp", "total")
            for pod, after in (("a", 0), ("b", 1), ("c", 3))
        },
        fires=[1, 3, 6],
        silent=[30],
        labels=ROUND,
    ),
    Case("BertlineLossNotFinite", {'training_loss{kind="mlm"}': "9-0.01x200"}, silent=[0, 20, 200]),
    Case(
        "BertlineRestartLoop",
        # Every attempt is another pod; the third dies before it is scraped.
        {
            'attempt{pod="a"}': "1x9 stale",
            'attempt{pod="b"}': "_x12 2x9 stale",
            'attempt{pod="d"}': "_x30 4x9 stale",
        },
        fires=[32, 45, 60],
        silent=[5, 25, 75],
        labels=ROUND,
    ),
    # Two preemptions in an hour, and four in four hours.
    Case(
        "BertlineRestartLoop",
        {'attempt{pod="a"}': "1x40 2x40 3x40 4x40 5x40"},
        silent=[30, 60, 90, 125, 170],
    ),
    Case(
        "BertlineCheckpointTooOld",
        {
            "checkpoint_last_success_timestamp_seconds": "0x9 600x9 1200x100",
            "checkpoint_interval_seconds": steady(600),
            "training_seconds_total": growing(0, 58),
        },
        fires=[45, 60],
        silent=[5, 19, 35, 40],
    ),
    Case(
        "BertlineCheckpointTooOld",
        # There never was one.
        {"checkpoint_interval_seconds": steady(600), "training_seconds_total": growing(0, 58)},
        fires=[24, 60],
        silent=[5, 20],
    ),
    Case(
        "BertlineCheckpointTooOld",
        {
            "checkpoint_last_success_timestamp_seconds": "_x10 600x9 1200x9 1800x9 2400x9",
            "checkpoint_interval_seconds": steady(600),
            "training_seconds_total": growing(0, 58),
        },
        silent=[5, 10, 12, 25, 40, 49],
    ),
    Case(
        "BertlineCheckpointFailing",
        {"checkpoint_failures_total": "0x20 1x10 2x100"},
        fires=[32, 45],
        silent=[15, 25, 60],
        labels=ROUND,
    ),
    # The store is away, the pod dies, the next one can't save itself either.
    Case(
        "BertlineCheckpointFailing",
        {
            'checkpoint_failures_total{pod="a"}': "0x5 1x2 2x2 stale",
            'checkpoint_failures_total{pod="b"}': "_x12 0x2 1x2 2x100",
        },
        fires=[10, 20],
        silent=[4, 60],
        labels=ROUND,
    ),
    Case("BertlineCheckpointFailing", {"checkpoint_failures_total": "0x20 1x100 2x100"}, silent=[15, 25, 110, 125]),
    Case(
        "BertlineGpuMemoryNearLimit",
        {
            'gpu_allocator_peak_bytes{gpu="0"}': "21.5e9x10 21.9e9x100",
            'gpu_memory_total_bytes{gpu="0"}': steady("24e9"),
            'gpu_memory_used_bytes{gpu="0"}': steady("23.5e9"),
        },
        fires=[14, 60],
        silent=[5, 11],
    ),
    # The allocator keeps what it has once taken, so the device looks full.
    Case(
        "BertlineGpuMemoryNearLimit",
        {
            'gpu_allocator_peak_bytes{gpu="0"}': steady("12e9"),
            'gpu_memory_total_bytes{gpu="0"}': steady("24e9"),
            'gpu_memory_used_bytes{gpu="0"}': steady("23.5e9"),
        },
        silent=[5, 60, 120],
    ),
    Case(
        "BertlineGpuMemoryNearLimit",
        # Nothing from the allocator: the device is what is known.
        {'gpu_memory_total_bytes{gpu="0"}': steady("24e9"), 'gpu_memory_used_bytes{gpu="0"}': steady("23.5e9")},
        fires=[4],
    ),
    Case(
        "BertlineHostMemoryNearLimit",
        {"host_memory_resident_bytes": "7.5e9x10 7.7e9x100", "host_memory_limit_bytes": steady("8e9")},
        fires=[17, 60],
        silent=[5, 14],
    ),
    Case(
        "BertlineHostMemoryNearLimit",
        {"host_memory_resident_bytes": "1e9x10 7.8e9x2 3e9x100", "host_memory_limit_bytes": steady("8e9")},
        silent=[5, 12, 20, 60],
    ),
    Case(
        "BertlineGpuNotAnswering",
        {"gpu_errors_total": "0x10 1+4x100"},
        fires=[18, 60],
        silent=[5, 12],
        labels=ROUND | {"node": "n"},
    ),
    Case("BertlineGpuNotAnswering", {"gpu_errors_total": "0x10 1x100"}, silent=[5, 12, 15, 16, 60]),
    Case(
        "BertlineInputBound",
        {"training_seconds_total": growing(0, 50), "training_data_wait_seconds_total": "0+9x30 270+11x100"},
        fires=[60, 90],
        silent=[20, 35],
    ),
    # The first minutes read files for the first time; a pause without training isn't waiting.
    Case(
        "BertlineInputBound",
        {
            "training_seconds_total": "0+50x60 3000x20 3000+50x60",
            "training_data_wait_seconds_total": "0+30x5 180+2x54 288x20 288+2x60",
        },
        silent=[5, 12, 20, 60, 75, 120],
    ),
    Case(
        "BertlineTargetDown",
        {'up{job="kubeflow/bertline"}': "1x10 0x30"},
        fires=[22, 35],
        silent=[5, 15],
        labels=LABELS | {"job": "kubeflow/bertline"},
    ),
    Case(
        "BertlineTargetDown",
        # A pod whose image comes for five minutes; and somebody else's.
        {'up{job="bertline"}': "0x5 1x100", 'up{job="another-bertline"}': "0x100"},
        silent=[4, 8, 30, 90],
    ),
]

RECORDS = {
    "bertline:training_steps:rate5m": ({"training_steps_total": growing(0, 600)}, 30, 10.0),
    "bertline:data_wait:ratio_rate10m": (
        {"training_seconds_total": growing(0, 50), "training_data_wait_seconds_total": growing(0, 6.25)},
        2,  # right from the second sample on
        0.125,
    ),
    "bertline:checkpoint_pause:ratio_rate1h": (
        {"training_seconds_total": growing(0, 48), "checkpoint_pause_seconds_total": growing(0, 16)},
        90,
        0.25,
    ),
    "bertline:gpu_memory:ratio": (
        {
            'gpu_allocator_peak_bytes{gpu="0"}': steady(19),
            'gpu_memory_total_bytes{gpu="0"}': steady(40),
            'gpu_memory_used_bytes{gpu="0"}': steady(39),
        },
        5,
        0.5,
    ),
    "bertline:host_memory:ratio": (
        {"host_memory_resident_bytes": steady(3), "host_memory_limit_bytes": steady(4)},
        5,
        0.75,
    ),
    "bertline:time_to_finish:seconds": (
        {
            "training_step": growing(0, 100),
            "training_last_step": steady(10_000),
            "training_steps_total": growing(0, 100),
            "training_seconds_total": growing(0, 50),
        },
        20,
        (10_000 - 2000) * 0.5,
    ),
}
