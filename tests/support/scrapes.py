"""A scraper, and what it needs to know of the process that it scrapes."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request

from prometheus_client import parser

COMMON = {"experiment", "run", "model", "stage", "round", "task"}


def get(url, path="/metrics", accept="", timeout=20):
    """Status, content type and text."""
    request = urllib.request.Request(url + path, headers={"Accept": accept} if accept else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def health(url):
    """Status and document."""
    status, _, text = get(url, "/healthz")
    return status, json.loads(text)


def values(text):
    """Values by name, with the labels that not every series has as `name{kind=mlm}`."""
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            own = {name: value for name, value in sample.labels.items() if name not in COMMON}
            inner = ",".join(f"{name}={value}" for name, value in sorted(own.items()))
            found[sample.name + (f"{{{inner}}}" if inner else "")] = sample.value
    return found


def labels(text):
    """The common labels of all series."""
    return {
        tuple((name, sample.labels.get(name)) for name in sorted(COMMON))
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def wait(condition, seconds=60):
    """What `condition` returns once it is true."""
    until = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < until, "it didn't come"
        time.sleep(0.02)


def url(process, seconds=60):
    """Of a process whose output is a pipe of text: what it says of its metrics."""
    until = time.monotonic() + seconds
    for line in iter(process.stdout.readline, ""):
        if match := re.fullmatch(r"metrics: (http://127\.0\.0\.1:\d+)/metrics", line.strip()):
            return match[1]
        assert time.monotonic() < until
    raise AssertionError("it ended and never said where its metrics are")


def check(promtool, text):
    """What `promtool check metrics` has to say."""
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr
