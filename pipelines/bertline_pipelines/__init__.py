"""From an experiment to a graph of tasks, and from there to a Kubeflow pipeline or to processes on this machine."""

from pathlib import Path


def experiment_files() -> Path:
    """The folder of bertline's own experiments: beside the package in a checkout, inside it in a wheel."""
    here = Path(__file__).parent
    inside = here / "experiments"
    return inside if inside.exists() else here.parent / "experiments"
