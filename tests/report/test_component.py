"""The report as a component: its process, its imports."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from bertline.report.config import ReportConfig

Fill = Callable[..., Any]


def test_importing_the_stage_brings_nothing_heavy():
    program = (
        "import sys, bertline.report; assert 'altair' not in sys.modules; import bertline.report.stage; "
        "print([m for m in ('tensorflow', 'kfp', 'bertline_pipelines', 'pandas', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_as_a_component(fill: Fill):
    filled = fill()
    config = ReportConfig(name="original", graph=filled.reference.digest).model_dump_json()
    command = [sys.executable, "-m", "bertline.report", "--store", filled.store.uri, "--config"]
    done = subprocess.run([*command, config], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*command, '{"name": "original", "graph": "0000"}'], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no version 0000" in done.stderr
