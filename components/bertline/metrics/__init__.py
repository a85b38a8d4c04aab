"""What a training or evaluation task tells of itself while it runs, for Prometheus.

gauges.py      the numbers, plain attributes that training assigns
memories.py     memory of host and GPU: the same gauges for the metrics and for the manifest
gpus.py         the device's gauges, asked of NVML by a thread of its own
flops.py        how much a model computes, and what devices could
collectors.py   from the numbers to metric families
servers.py      HTTP
tasks.py        begins the gauges of a task, and serves them where `BERTLINE_METRICS_ADDRESS` says so
"""
