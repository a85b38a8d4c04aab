"""The compiled pipelines that are kept beside their source: `make golden` writes them, tests compare them whole.

Only the images' tags are replaced: they follow from the content of all that goes into an image, so they would change
with every line of code.
"""

import re
from pathlib import Path

from bertline import experiments
from bertline_pipelines import documents, graphs, plans, profiles

FOLDER = Path(__file__).parents[2] / "pipelines" / "golden"
ENVIRONMENT = {"BERTLINE_STORE": "gs://bucket/bertline", "BERTLINE_REGISTRY": "registry.example/bertline"}
PROFILES = {"kind": {}, "kind-gpu": {}, "gke-l4": ENVIRONMENT, "gke-a100-spot": ENVIRONMENT}
TAG = re.compile(r"(bertline-\w+):(cpu-|cuda-)?[0-9a-f]{12,64}")


def plan(corpus_pods: int = 1) -> plans.Plan:
    graph = graphs.build(experiments.load(FOLDER / "experiment.yaml"))
    return plans.plan(graphs.portable(graph), None, corpus_pods)


def compiled(name: str) -> list[documents.Document]:
    profile = profiles.load(name, PROFILES[name])
    everything = plan(profile.corpus_pods)
    return documents.compile_plan("golden", everything.missing, profile)


def text(name: str) -> str:
    (document,) = compiled(name)
    return TAG.sub(r"\1:\2CONTENT", document.text)


if __name__ == "__main__":
    for each in PROFILES:
        (FOLDER / f"{each}.yaml").write_text(text(each), encoding="utf-8")
