"""What is kept beside the source and compared whole: compiled pipelines, keys, defaults. `make golden` writes them.

Of the compiled pipelines only the images' tags are replaced: they follow from the content of all that goes into an
image, so they would change with every line of code.

Keys are those of the shipped experiments, with made-up checksums for files that aren't at hand. They may change only
with a stage's ALGORITHM_VERSION. A field that has its default isn't in the key, so another default would give old keys
a new meaning: `defaults.json` pins all of them, and `make golden` refuses to write a changed one under an old version.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

import bertline_pipelines
from bertline.experiment import specs
from bertline.sources.files import Source
from bertline.stage.configs import Operational, StageConfig
from bertline_pipelines.compiling import documents
from bertline_pipelines.places import profiles
from bertline_pipelines.planning import plans, unrolling
from bertline_pipelines.stages import STAGES

FOLDER = Path(__file__).parents[2] / "pipelines" / "golden"
ENVIRONMENT = {"BERTLINE_STORE": "gs://bucket/bertline", "BERTLINE_REGISTRY": "registry.example/bertline"}
PROFILES = {"kind": {}, "kind-gpu": {}, "gke-l4": ENVIRONMENT, "gke-a100-spot": ENVIRONMENT}
TAG = re.compile(r"(bertline-\w+):(cpu-|cuda-)?[0-9a-f]{12,64}")
EXPERIMENTS = ("nano", "wiki-en", "wiki-ru")


def plan(corpus_pods: int = 1) -> plans.Plan:
    graph = unrolling.build(specs.load(FOLDER / "experiment.yaml"))
    return plans.plan(unrolling.portable(graph), None, corpus_pods)


def compiled(name: str) -> list[documents.Document]:
    profile = profiles.load(name, PROFILES[name])
    everything = plan(profile.corpus_pods)
    return documents.compile_plan("golden", everything.missing, profile)


def text(name: str) -> str:
    (document,) = compiled(name)
    return TAG.sub(r"\1:\2CONTENT", document.text)


def keys(name: str) -> dict[str, list[str]]:
    """Keys of a shipped experiment, by task."""
    experiment = specs.load(bertline_pipelines.experiment_files() / f"{name}.yaml")
    graph = unrolling.build(experiment.with_sources(_with_checksum))
    return {task.name: [config.derivation().key for config in task.configs] for task in plans.plan(graph, None).tasks}


def _with_checksum(source: Source) -> Source:
    if source.sha256 or source.sha1 or not (source.is_local or source.is_sample):
        return source
    return source.model_copy(update={"sha256": hashlib.sha256(source.name.encode()).hexdigest()})


def defaults() -> dict[str, dict[str, Any]]:
    """Of each stage: its version, and the default of every field that has one, by the class that holds it."""
    return {
        stage.STAGE: {"version": stage.ALGORITHM_VERSION, "defaults": dict(sorted(_defaults(stage, set())))}
        for stage in (row.config for row in STAGES)
    }


def _defaults(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, Any]]:
    seen.add(model)
    for name, field in model.model_fields.items():
        if not field.is_required():
            value = field.get_default(call_default_factory=True)
            yield f"{model.__name__}.{name}", value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for inner in _models(field.annotation):
            if inner not in seen and not issubclass(inner, Operational | StageConfig):
                yield from _defaults(inner, seen)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def changed_defaults(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Defaults that would give old keys another meaning: changed or gone, and the version is still the same."""
    return [
        f"{stage}: the default of {name} was {value!r} and is {now[stage]['defaults'].get(name)!r}"
        for stage, kept in before.items()
        if stage in now and now[stage]["version"] == kept["version"]
        for name, value in kept["defaults"].items()
        if name not in now[stage]["defaults"] or now[stage]["defaults"][name] != value
    ]


def kept(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def _write(name: str, document: Any) -> None:
    (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if (FOLDER / "defaults.json").exists() and (changed := changed_defaults(defaults(), kept("defaults"))):
        sys.exit("\n".join([*changed, "Raise the stage's ALGORITHM_VERSION with the default, then run this again."]))
    for each in PROFILES:
        (FOLDER / f"{each}.yaml").write_text(text(each), encoding="utf-8")
    _write("keys", {name: keys(name) for name in EXPERIMENTS})
    _write("defaults", defaults())
