"""Panels of GPU and host memory."""

from bertline_pipelines.monitoring import expressions
from bertline_pipelines.monitoring.panels import EACH_ROUND, Panel, Query

MEMORY = (
    Panel(
        title="GPU memory",
        description="Allocator: memory of TensorFlow's tensors, now and at most. Device: all used memory (NVML), with "
        "the allocator's pool, CUDA's own memory and other processes.",
        kind="lines",
        unit="bytes",
        width=16,
        height=10,
        minimum=0,
        queries=(
            Query(expr=expressions.now("bertline_gpu_allocator_bytes"), name="allocator", by=EACH_ROUND, needs="gpu"),
            Query(
                expr=expressions.now("bertline_gpu_allocator_peak_bytes"),
                name="allocator's peak",
                by=EACH_ROUND,
                needs="gpu",
                style="dashed",
            ),
            Query(
                expr=expressions.now("bertline_gpu_memory_used_bytes"),
                name="device",
                by=EACH_ROUND,
                needs="gpu",
                style="points",
            ),
            Query(expr=expressions.TOTAL_BY_MODEL, name="total", by=("gpu",), needs="gpu", style="limit"),
        ),
    ),
    Panel(
        title="GPU utilisation",
        description="Share of time in which a kernel ran on the device (NVML). A high value doesn't prove "
        "efficiency: see Model FLOP/s.",
        kind="lines",
        unit="share",
        width=8,
        height=10,
        minimum=0,
        maximum=1,
        queries=(Query(expr=expressions.now("bertline_gpu_utilization_ratio"), by=EACH_ROUND, needs="gpu"),),
    ),
    Panel(
        title="Memory of each model and round",
        description="Highest scraped values in the time that is shown, with finished rounds; the report has the same "
        "values.",
        kind="table",
        width=24,
        height=8,
        columns={"run": "run", "stage": "stage", "round": "to epoch", "task": "task"},
        queries=(
            Query(expr=expressions.highest("bertline_batch_size"), name="batch", instant=True, unit="count"),
            Query(expr=expressions.highest("bertline_model_parameters"), name="parameters", instant=True, unit="count"),
            Query(
                expr=expressions.highest("bertline_gpu_allocator_peak_bytes"),
                name="allocator's peak",
                instant=True,
                needs="gpu",
                unit="bytes",
            ),
            Query(
                expr=expressions.highest("bertline_gpu_memory_used_bytes"),
                name="device, most",
                instant=True,
                needs="gpu",
                unit="bytes",
            ),
            Query(
                expr=expressions.highest("bertline_gpu_memory_total_bytes"),
                name="device, total",
                instant=True,
                needs="gpu",
                unit="bytes",
            ),
            Query(
                expr=expressions.highest("bertline_host_memory_peak_bytes"),
                name="host's peak",
                instant=True,
                unit="bytes",
            ),
            Query(
                expr=expressions.highest("bertline_host_memory_limit_bytes"),
                name="host's limit",
                instant=True,
                needs="memory limit",
                unit="bytes",
            ),
        ),
    ),
    Panel(
        title="Host memory",
        description="Resident memory of the process, and the limit of its container.",
        kind="lines",
        unit="bytes",
        width=12,
        minimum=0,
        queries=(
            Query(expr=expressions.now("bertline_host_memory_resident_bytes"), name="resident", by=EACH_ROUND),
            Query(expr=expressions.now("bertline_host_memory_peak_bytes"), name="peak", by=EACH_ROUND, style="dashed"),
            Query(
                expr=expressions.now("bertline_host_memory_limit_bytes", by="stage"),
                name="limit",
                by=("stage",),
                needs="memory limit",
                style="limit",
            ),
        ),
    ),
    Panel(
        title="GPU memory, as DCGM's exporter sees it",
        description="Used memory of the GPU of the round's pod, if DCGM's exporter runs with pod labels. It also "
        "shows a pod whose own metrics hang.",
        kind="lines",
        unit="bytes",
        width=12,
        minimum=0,
        queries=(Query(expr=expressions.dcgm("DCGM_FI_DEV_FB_USED", "1048576"), by=EACH_ROUND, needs="dcgm"),),
    ),
)
