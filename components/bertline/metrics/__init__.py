"""Prometheus metrics of a running training or evaluation task.

gauges.py      the values: plain attributes that training assigns
memories.py     memory of host and GPU: the same values for the metrics and the manifest
gpus.py         the device's values, read from NVML by a separate thread
flops.py        how much a model computes, and what devices could
collectors.py   makes metric families from the values
servers.py      HTTP
tasks.py        creates the values of a task, and serves them at `BERTLINE_METRICS_ADDRESS`
"""
