"""`bertline store`: lists, checks and cleans up a store."""

import datetime
import itertools
import json
import re
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertline.plurals import counted
from bertline.process import parallel, progress
from bertline_cli import displays
from bertline_cli.arguments import Json, OptionalProfile, Store, existing, options

if TYPE_CHECKING:
    from bertline.store.objects import ObjectStore, Stat
    from bertline.store.realizations import Realization

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, check and clean up the store.",
)

WIDE = 100  # characters of a terminal that has room for all columns


@dataclass(frozen=True)
class Place:
    """One derivation in a listing."""

    stage: str
    key: str
    state: str
    """complete, or unfinished."""
    files: int
    size: int
    """Bytes."""
    modified: float
    experiments: tuple[str, ...]


@app.command("ls", epilog="Example:  bertline store ls --store gs://my-bucket/bert")
def list_(store: Store = None, profile: OptionalProfile = None, as_json: Json = False) -> None:
    """List all results with size, age, and the experiments that need them."""
    connected = existing(store, profile)
    places = _places(connected)
    if as_json:
        _print_json([_document(place) for place in places])
        return
    rows = [
        (
            place.stage,
            place.key[:12],
            place.state,
            str(place.files),
            _bytes(place.size),
            _date(place.modified).removesuffix(" UTC"),
            ", ".join(place.experiments) or "-",
        )
        for place in places
    ]
    columns = ("stage", "key", "state", "files", "size", "modified (UTC)", "experiments")
    _print_table(columns, rows, right={3, 4}, wide={3})
    _print(f"{counted(len(places), 'result')}, {_bytes(sum(place.size for place in places))}, in {connected.uri}")


@app.command(epilog="Example:  bertline store show 3f9a")
def show(
    key: Annotated[str, typer.Argument(help="The first digits of a key.")],
    store: Store = None,
    profile: OptionalProfile = None,
    as_json: Json = False,
) -> None:
    """Show one result: its request, its values, versions, and all attempts."""
    from bertline.store import derivations, histories, realizations
    from bertline.store.objects import NotFoundError

    connected = existing(store, profile)
    place = _choose(_places(connected), key, connected.uri)
    prefix = derivations.prefix(place.stage, place.key)
    try:
        derivation = json.loads(connected.get(f"{prefix}{realizations.DERIVATION}")[0])
    except (NotFoundError, ValueError):
        derivation = None  # `verify` reports this; the rest can still be shown
    history = histories.read(connected, place.stage, place.key, with_attempts=True)
    found = history.realization
    document = _document(place) | {
        "history": str(history.state),
        "derivation": derivation,
        "manifest": found.manifest.model_dump(mode="json") if found else None,
        "attempts": [each.events for each in history.attempts],
    }
    if as_json:
        _print_json(document)
        return
    _print(f"{place.stage} {place.key}")
    _print(f"{place.state}, {counted(place.files, 'file')}, {_bytes(place.size)}, in {connected.uri}/{prefix}")
    if not found:
        _print(f"state: {history}")
    _print(f"needed by: {', '.join(place.experiments) or 'no experiment'}")
    _print_section("request", document["derivation"])
    if found:
        _print_section("results", found.manifest.results)
        _print_section("measurements", found.manifest.measurements)
        _print_section("provenance", found.manifest.provenance)
        rows = [(file.path, _bytes(file.size), file.sha256[:12]) for file in found.manifest.files]
        _print_table(("file", "size", "sha256"), rows, right={1})
    for each in history.attempts:
        what = f"{counted(len(each.events), 'event')}, the last on {_date(each.heard)}"
        _print(f"attempt {each.number} on {each.host}: {history.ending(each)}; {what}")
        for line in each.failure.message.splitlines()[1:] if each.failure else ():
            _print(f"  {line}")


@app.command(epilog="Examples:  bertline store verify          everything\n\nbertline store verify 3f9a     one result")
def verify(
    key: Annotated[str, typer.Argument(help="The first digits of a key; without it, everything.")] = "",
    store: Store = None,
    profile: OptionalProfile = None,
    as_json: Json = False,
) -> None:
    """Read every byte and compare it with the manifests. Exit code 65 if something is damaged."""
    from bertline.errors import DamagedError, ExitCode
    from bertline.store import mirrors, realizations

    connected = existing(store, profile)
    places = _places(connected)
    chosen = [_choose(places, key, connected.uri)] if key else places
    damages: list[str] = []
    found: list[Realization] = []
    for place in chosen:
        try:
            found += filter(None, [realizations.find(connected, place.stage, place.key)])
        except DamagedError as error:
            damages.append(str(error))
    total = sum(file.size for realization in found for file in realization.manifest.files)
    total += 0 if key else sum(copy.size for copy in connected.list(mirrors.ROOT))
    with (
        displays.transfers(),
        progress.bar("verifying", total, "B") as advance,
        tempfile.TemporaryDirectory(prefix="bertline-") as work,
    ):
        for realization in found:
            damages += realization.verify(advance)
        damages += [] if key else mirrors.damages(connected, Path(work), advance)
    if as_json:
        _print_json({"verified": len(found), "bytes": total, "damages": damages})
    elif not damages:
        unfinished = len(chosen) - len(found)
        _print(
            f"{counted(len(found), 'result')}, {_bytes(total)}: all bytes are intact"
            + (f"; {unfinished} unfinished, not checked" if unfinished else "")
        )
    for damage in damages:
        typer.echo(f"damaged: {damage}", err=True)
    if damages:
        typer.echo(
            f"{counted(len(damages), 'object')} {'is' if len(damages) == 1 else 'are'} damaged. Delete a result's "
            "manifest.json, and the next run of its experiment makes it again; delete a damaged source, and the next "
            "`bertline submit` sends it again.",
            err=True,
        )
        raise typer.Exit(int(ExitCode.DAMAGED))


@app.command(
    epilog="Examples:  bertline store gc                      what could go\n\n"
    "bertline store gc --superseded --delete   delete, also what only older versions of experiments need"
)
def gc(
    store: Store = None,
    profile: OptionalProfile = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete. Without it nothing is deleted.")] = False,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Also delete what only older versions of an experiment need.")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than",
            min=0,
            metavar="HOURS",
            help="Keep objects written in the last hours before the store's newest write (by its clock).",
        ),
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """List or delete what no experiment needs: results, unfinished attempts, leftover files."""
    from bertline.store import garbage

    connected = existing(store, profile)
    found = garbage.collect(connected, superseded=superseded, grace_s=older_than * 3600)
    gone = []
    if delete:
        objects = sum(len(item.objects) for item in found)
        with displays.transfers(), progress.bar("deleting", objects, "objects") as advance:
            gone = garbage.delete(connected, found, advance)
    if as_json:
        _print_json({"garbage": [_item(item) for item in found], "deleted": [item.place for item in gone]})
        return
    shown = gone if delete else found
    rows = [(_short(item.place), str(len(item.objects)), _bytes(item.size), item.reason) for item in shown]
    if rows:
        _print_table(("place", "objects", "size", "why"), rows, right={1, 2})
    total = f"{counted(len(shown), 'place')}, {counted(sum(len(item.objects) for item in shown), 'object')}, "
    total += _bytes(sum(item.size for item in shown))
    if not found:
        _print(f"nothing to delete in {connected.uri}")
    elif delete:
        spared = f"; {len(found) - len(gone)} kept: an experiment needs them now" if len(gone) < len(found) else ""
        _print(f"deleted {total}{spared}")
    else:
        words = f"{options(store, profile)}{' --superseded' if superseded else ''}"
        words += f" --older-than {older_than:g}" if older_than != 24 else ""
        _print(f"could be deleted: {total}\nto delete:  bertline store gc {words} --delete")


def _places(store: "ObjectStore") -> list[Place]:
    """All derivations, from listings only, sorted by stage and key."""
    from bertline.store import garbage, references
    from bertline.store.realizations import MANIFEST

    needed: dict[str, set[str]] = {}
    for version in references.read(store):
        for key in garbage.keys([version]):
            needed.setdefault(key, set()).add(version.name)

    def place(found: "Stat") -> str:
        match = garbage.PLACE.match(found.name)
        return match[0] if match else ""

    def look(prefix: str, found: "list[Stat]") -> Place:
        _, stage, key, _ = prefix.split("/")
        state = "complete" if any(item.name == f"{prefix}{MANIFEST}" for item in found) else "unfinished"
        size, modified = sum(item.size for item in found), max(item.modified for item in found)
        experiments = needed.get(key) or {
            name for digest in garbage.versions_named(store, prefix) for name in needed.get(digest, ())
        }
        return Place(stage, key, state, len(found), size, modified, tuple(sorted(experiments)))

    places = [(prefix, list(objects)) for prefix, objects in itertools.groupby(store.list("objects/"), place) if prefix]
    return parallel.each(lambda each: look(*each), places)


def _choose(places: list[Place], beginning: str, store: str) -> Place:
    """The only derivation whose key starts with `beginning`."""
    from bertline.errors import UserError

    found = [place for place in places if place.key.startswith(beginning.lower())]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"store {store} has no key that starts with {beginning!r}; `bertline store ls` lists all")
    candidates = "\n".join(f"  {place.key[:16]}  {place.stage}" for place in found[:20])
    more = f"\n  … {len(found) - 20} more" if len(found) > 20 else ""
    raise UserError(
        f"{beginning!r} is ambiguous, {len(found)} keys start with it; give more digits:\n{candidates}{more}"
    )


def _print_table(
    columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: set[int], wide: Collection[int] = ()
) -> None:
    """A table on a terminal; tab-separated lines in a pipe.

    Args:
        columns: Titles of the columns.
        rows: The cells.
        right: Indices of columns that are aligned to the right.
        wide: Indices of columns for wide terminals only; there each row takes one line.
    """
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            _print("\t".join(row))
        return
    width = displays.width()
    shown = [index for index in range(len(columns)) if index not in wide or width >= WIDE]
    chosen = [tuple(row[index] for index in shown) for row in (columns, *rows)]
    for line in displays.table(chosen, width, right={shown.index(index) for index in right if index in shown}):
        _print(line if not wide or len(line) <= width else f"{line[: width - 1]}…")


def _short(place: str) -> str:
    """The place of garbage; on a terminal with only the beginning of the key."""
    return re.sub(r"([0-9a-f]{12})[0-9a-f]{52}/?", r"\1", place) if sys.stdout.isatty() else place


def _print_section(title: str, document: dict[str, Any] | None) -> None:
    _print(f"{title}:")
    for line in json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True).splitlines()[1:-1]:
        _print(line)


def _print_json(document: object) -> None:
    _print(json.dumps(document, indent=2, ensure_ascii=False))


def _print(line: str) -> None:
    typer.echo(line)


def _document(place: Place) -> dict[str, Any]:
    return {
        "stage": place.stage,
        "key": place.key,
        "state": place.state,
        "files": place.files,
        "bytes": place.size,
        "modified": place.modified,
        "experiments": list(place.experiments),
    }


def _item(item: Any) -> dict[str, Any]:
    return {"place": item.place, "reason": item.reason, "objects": len(item.objects), "bytes": item.size}


def _bytes(amount: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
