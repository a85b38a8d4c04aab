"""`bertline doctor`: lines, summary, JSON and exit code."""

import json
import re
import subprocess
import sys

import typer
import yaml
from typer.testing import CliRunner

from bertline_cli import doctor


def bad(texts):
    return [each for each in texts if each[1] != "ok"]


def test_the_command(bertline, place, tmp_path):
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump(place.profile))
    good = bertline("doctor", "--profile", path)
    assert good.returncode == 0, good.stdout + good.stderr
    *lines, summary, then = good.stdout.splitlines()
    assert all(re.match(r"✓ [a-z ]{13}  \S", line) for line in lines), good.stdout
    assert summary == f"{len(lines)} ok"
    assert then == f"Next:  bertline submit EXPERIMENT.yaml --profile {path}"
    assert place.value not in good.stdout + good.stderr


def test_what_the_command_says_of_failures(place, tmp_path):
    path = tmp_path / "tests.yaml"
    app = typer.Typer()
    app.command()(doctor.command)

    def run(*options):
        path.write_text(yaml.safe_dump(place.profile))
        return CliRunner().invoke(app, ["--profile", str(path), *options])

    place.kfp.stop()
    unreachable = run("--json")
    assert unreachable.exit_code == 75, unreachable.output
    document = json.loads(unreachable.stdout)
    assert (document["profile"], document["exit_code"]) == (str(path), 75)
    assert [each["name"] for each in document["findings"] if each["state"] == "failed"] == ["kubeflow"]

    place.profile["kubeflow"]["context"] = "gke"
    bad = run()
    assert bad.exit_code == 2, bad.output
    assert "✗ cluster        kubeconfig " in bad.stdout
    assert "? namespace      needs the cluster" in bad.stdout
    *_, summary, then = bad.stdout.splitlines()
    assert summary == "2 ok, 2 failed, 8 unknown"
    assert then == f"Next:  fix what has a ✗, then  bertline doctor --profile {path}"
    assert place.value not in unreachable.output + bad.output


def test_it_needs_neither_kfp_nor_tensorflow():
    code = (
        "import sys; from bertline_cli import doctor; from bertline_pipelines.doctor import checks;"
        "print([name for name in ('kfp', 'tensorflow', 'official', 'kubernetes') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
