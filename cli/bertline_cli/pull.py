"""`bertline pull`: copies an experiment's results from the store into a folder.

    DEST/report.html  report.md  charts            the report, with gaps for missing results
    DEST/results.json                              accuracy by model, epoch, task and seed, with keys and wall-clock
    DEST/vocabulary/  corpus/                      manifest.json and small files; shards with --corpus
    DEST/<run>/epoch-0010/pretrain/                manifest.json; weights and optimizer state with --checkpoints
    DEST/<run>/epoch-0010/<task>-seed<n>/          manifest.json, predictions.tsv

Every file is complete: it is downloaded under a temporary name, checked against its manifest, and then renamed.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertline.plurals import counted
from bertline.process import parallel
from bertline_cli import arguments, displays

if TYPE_CHECKING:
    from bertline.report.collect import Collected, Item
    from bertline.report.manifests import Manifest
    from bertline.store.objects import ObjectStore
    from bertline.store.realizations import Realization
    from bertline.store.staging import File

EXAMPLE = "Example:  bertline pull my.yaml results --store gs://my-bucket/bert"

# Large files that aren't results, by stage: parts of their names.
CHECKPOINTS, SHARDS = ".safetensors", ".tfrecord"


@dataclass(frozen=True)
class Wanted:
    """One file for DEST."""

    target: str
    """Relative to DEST, `/` between parts."""
    place: str
    """Prefix of its realization."""
    file: "File"


@dataclass(frozen=True)
class Pulled:
    """The content of DEST."""

    new: tuple[Wanted, ...]
    kept: tuple[Wanted, ...]
    damages: tuple[str, ...]
    """A sentence for each file that can't be downloaded."""


def command(
    experiment: Annotated[
        str, typer.Argument(metavar="EXPERIMENT", help="Its file, or its name in the store.", show_default=False)
    ],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Folder to fill.", show_default=False)],
    store: arguments.Store = None,
    profile: arguments.OptionalProfile = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also the milestones: weights and optimizer state.")
    ] = False,
    corpus: Annotated[bool, typer.Option("--corpus", help="Also the training examples: all shards.")] = False,
    as_json: arguments.Json = False,
) -> None:
    """Download an experiment's results so far: report, measurements, predictions, manifests.

    Every file is checked. A second run downloads only new files.
    """
    from bertline.errors import DamagedError, ExitCode, TransientError
    from bertline.process import progress
    from bertline.report.collect import collect
    from bertline.store import references

    name = arguments.name(experiment)
    connected = arguments.existing(store, profile)
    reference = references.current(connected, name)
    collected = collect(connected, reference)
    places = {_folder(item): item for item in collected.items}
    _refuse_to_leave(destination, places)
    missing = {folder: item for folder, item in places.items() if item.manifest is None}
    if len(missing) == len(places):
        raise TransientError(
            f"nothing of experiment {name} is done yet in {connected.uri}: all {len(places)} results are missing; "
            "run the same command again when some are done"
        )
    report, found = _realizations(connected, collected, places)
    wanted = list(_wanted(report, found, checkpoints=checkpoints, corpus=corpus))
    with displays.transfers():
        with progress.bar(f"pulling {name}", sum(each.file.size for each in wanted), "B") as advance:
            pulled = _pull(connected, wanted, destination, advance)
        for folder, realization in found.items():
            _write(destination / folder / "manifest.json", realization.manifest.model_dump_json(indent=2))
        if report is None:
            from bertline.report import pages

            pages.write(collected, destination)
    lacks = [{"result": folder, **_missing(item)} for folder, item in missing.items()]
    document: dict[str, Any] = {"experiment": name, "version": reference.digest, "store": connected.uri}
    figures = document | {"complete": not lacks, **_figures(collected), "missing": lacks}
    _write(destination / "results.json", json.dumps(figures, indent=2, ensure_ascii=False) + "\n")

    if as_json:
        document |= {
            "destination": str(destination),
            "pulled": [each.target for each in pulled.new],
            "kept": [each.target for each in pulled.kept],
            "bytes_pulled": sum(each.file.size for each in pulled.new),
            "missing": lacks,
            "damages": list(pulled.damages),
        }
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _tell(name, destination, pulled, missing, len(places))
    if pulled.damages:
        said = (
            "\n".join(pulled.damages)
            + f"\n{counted(len(pulled.damages), 'file')} can't be downloaded; all others are in {destination}"
        )
        if not as_json:
            raise DamagedError(said)
        typer.echo(f"error: {said}", err=True)  # stdout already has its document
        raise typer.Exit(ExitCode.DAMAGED)


def _folder(item: "Item[Manifest]") -> str:
    """A result's folder in DEST."""
    node = item.node
    if not node.run:
        return node.stage
    last = f"{node.glue_task}-seed{node.fine_tuning_seed}" if node.glue_task else node.stage
    return f"{node.run}/epoch-{node.epoch:04d}/{last}"


def _realizations(
    store: "ObjectStore", collected: "Collected", places: dict[str, "Item[Manifest]"]
) -> tuple["Realization | None", dict[str, "Realization"]]:
    """The report if it is complete, and finished results by folder."""
    from bertline.store import realizations

    report = collected.graph.report
    done = {folder: item for folder, item in places.items() if item.manifest}
    found = parallel.each(lambda item: realizations.require(store, item.node.stage, item.node.key), done.values())
    return realizations.find(store, report.stage, report.key), dict(zip(done, found, strict=True))


def _wanted(
    report: "Realization | None", found: dict[str, "Realization"], *, checkpoints: bool, corpus: bool
) -> Iterator[Wanted]:
    left_out = ([] if checkpoints else [("pretrain", CHECKPOINTS)]) + ([] if corpus else [("corpus", SHARDS)])
    for file in report.manifest.files if report else ():
        assert report is not None
        yield Wanted(file.path, report.prefix, file)
    for folder, realization in found.items():
        for file in realization.manifest.files:
            if not any(realization.manifest.stage == stage and kind in file.path for stage, kind in left_out):
                yield Wanted(f"{folder}/{file.path}", realization.prefix, file)


def _pull(store: "ObjectStore", wanted: Sequence[Wanted], destination: Path, advance: Callable[[int], None]) -> Pulled:
    """Download all files in parallel; a damaged file doesn't stop the others."""
    from bertline.errors import DamagedError
    from bertline.store import staging

    def have(each: Wanted) -> bool | DamagedError:
        try:
            return _have(store, each, destination, advance)
        except DamagedError as error:
            return error

    found = list(zip(wanted, parallel.each(have, wanted, staging.THREADS), strict=True))
    return Pulled(
        tuple(each for each, outcome in found if outcome is True),
        tuple(each for each, outcome in found if outcome is False),
        tuple(str(outcome) for _, outcome in found if isinstance(outcome, DamagedError)),
    )


def _have(store: "ObjectStore", wanted: Wanted, destination: Path, advance: Callable[[int], None]) -> bool:
    """Download and check one file; False if it was there already."""
    from bertline.errors import DamagedError
    from bertline.store import disks
    from bertline.store.objects import NotFoundError

    path, name = destination / wanted.target, f"{wanted.place}{wanted.file.path}"
    with disks.output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is(path, wanted.file):
            advance(wanted.file.size)
            return False
    part = path.with_name(f".{path.name}.part")  # a fixed name: the next pull replaces it
    try:
        store.download(name, part, advance)
        if not _is(part, wanted.file):
            raise DamagedError(
                f"{store.uri}/{name} is damaged: it differs from its manifest; see `bertline store verify`"
            )
        with disks.output(path):
            part.replace(path)
    except NotFoundError as error:
        raise DamagedError(f"{store.uri}/{name} is missing, though its manifest lists it") from error
    finally:
        part.unlink(missing_ok=True)
    return True


def _is(path: Path, file: "File") -> bool:
    from bertline.store import staging

    return path.is_file() and path.stat().st_size == file.size and staging.checksum(path) == file.sha256


def _refuse_to_leave(destination: Path, folders: Iterable[str]) -> None:
    """Refuse names of runs and tasks that lead out of DEST, because others may write to the bucket."""
    from bertline.errors import DamagedError

    for folder in folders:
        if not Path(os.path.abspath(destination / folder)).is_relative_to(os.path.abspath(destination)):
            raise DamagedError(f"the experiment has a run or task that leads out of {destination}: {folder}")


def _write(path: Path, content: str) -> None:
    from bertline.store import disks

    part = path.with_name(f".{path.name}.part")
    with disks.output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(content, encoding="utf-8")
        part.replace(path)


def _figures(collected: "Collected") -> dict[str, Any]:
    """Measurements as flat rows: one per milestone, one per fine-tuning."""
    from bertline.report.manifests import PretrainManifest
    from bertline_pipelines import results

    milestones = []
    for item in collected.of(PretrainManifest):
        if pretrained := item.manifest:
            node, last = item.node, pretrained.results.epochs[-1]
            milestones.append(
                {
                    "run": node.run,
                    "model": node.model,
                    "pretrain_seed": node.seed,
                    "epoch": node.epoch,
                    "step": pretrained.results.step,
                    "wall_clock_s": pretrained.measurements.wall_clock_s,
                    "sequences_per_s": pretrained.measurements.sequences_per_s,
                    "train": last.train.model_dump(),
                    "held_out": last.held_out.model_dump() if last.held_out else None,
                    "parameters": pretrained.results.parameters.model_dump(),
                    "key": node.key,
                }
            )
    return {
        "spec": collected.experiment.model_dump(mode="json"),
        "vocabulary": _summary(collected.vocabulary),
        "corpus": _summary(collected.corpus),
        "milestones": milestones,
        "accuracies": [row for row in results.of(collected) if row["accuracy"] is not None],
    }


def _summary(item: "Item[Any]") -> dict[str, Any]:
    return {"key": item.node.key} | (item.manifest.results.model_dump() if item.manifest else {})


def _missing(item: "Item[Manifest]") -> dict[str, str]:
    return {"stage": item.node.stage, "key": item.node.key, "reason": item.reason}


def _tell(name: str, destination: Path, pulled: Pulled, missing: dict[str, "Item[Manifest]"], results: int) -> None:
    size = sum(each.file.size for each in pulled.new)
    typer.echo(
        f"{name}: {results - len(missing)} of {counted(results, 'result')} in {destination}; "
        f"{counted(len(pulled.new), 'file')} pulled "
        f"({size / 1e6:,.1f} MB), {len(pulled.kept)} were there"
    )
    if missing:
        counts = Counter((item.node.stage, item.reason) for item in missing.values())
        what = ", ".join(f"{count} {stage} ({reason})" for (stage, reason), count in counts.items())
        typer.echo(f"missing: {what}; run the same command again later to get them")
    typer.echo(f"report: {destination / 'report.html'}" + ("" if not missing else ", with gaps"))
