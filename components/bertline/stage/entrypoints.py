"""Starts a component: `python -m bertline.<component> --store URI --config JSON`, or as a KFP task.

It parses the configuration, runs the stage, and turns failures into a message and an exit code.
"""

import argparse
import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bertline.addresses import redacted
from bertline.errors import BertlineError, ExitCode, UserError
from bertline.plurals import counted
from bertline.process import progress, signals
from bertline.stage.configs import StageConfig
from bertline.store import logs
from bertline.store.backends import connect
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Realization

Config = TypeVar("Config", bound=StageConfig)
Run = Callable[[Config, ObjectStore], Realization]

PARENT, LOCK = "BERTLINE_PARENT", "BERTLINE_LOCK"
"""Pid of the `bertline run` that this task belongs to, and the file that is locked while its scratch is in use."""

ORPHAN_S = 60.0
"""Seconds that a task has to save when its run has ended."""

_endings: list[Callable[[ExitCode], None]] = []


def at_end(ending: Callable[[ExitCode], None]) -> None:
    """Register a function that is called at the end of the task, after success or failure."""
    if ending not in _endings:
        _endings.append(ending)


def main(config_type: type[Config], run: Run[Config], argv: Sequence[str] | None = None) -> int:
    """Command line of a component; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bertline.{config_type.STAGE}",
        description=(config_type.__doc__ or "").split("\n\n")[0],
        epilog="Exit codes: bertline/errors.py. Finished results aren't made again.",
    )
    parser.add_argument(
        "--store", required=True, help="root of the store: file:///dir, gs://bucket/prefix or s3://bucket/prefix"
    )
    parser.add_argument("--config", required=True, help="JSON of the stage's config, a list of them, or @FILE")
    arguments = parser.parse_args(argv)
    text = arguments.config
    try:
        if text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        return _failed(UserError(f"can't read the config: {error}"))
    return _attempt(config_type, run, arguments.store, text)


def task(config_type: type[Config], run: Run[Config], store: str, config: str) -> str:
    """Body of a KFP task: like `main`; returns the keys of the results, separated by spaces.

    Raises:
        SystemExit: with the failure's exit code, which KFP's executor passes on.
    """
    _end_with_parent()
    code = _attempt(config_type, run, store, config)
    if code:
        sys.exit(code)
    return " ".join(each.derivation().key for each in _parse(config_type, config))


def _attempt(config_type: type[Config], run: Run[Config], store: str, config: str) -> int:
    code = _ended(config_type, run, store, config)
    while _endings:
        _endings.pop()(code)
    return code


def _ended(config_type: type[Config], run: Run[Config], store: str, config: str) -> ExitCode:
    with signals.handled(), signals.postponable(), logs.recorded():
        try:
            try:
                connected = connect(store)
                for each in _parse(config_type, config):
                    signals.check()
                    manifest = run(each, connected).manifest
                    sys.stdout.write(f"{each.STAGE} {manifest.key}: {counted(len(manifest.files), 'file')}\n")
            finally:
                signals.postpone()  # only the report of the end is left
        except (BertlineError, signals.Stopped) as error:
            return _failed(error)
        except Exception as error:  # noqa: BLE001 - the last resort: a traceback for the log, an exit code for the caller
            progress.fail(ExitCode.BUG, f"{type(error).__name__}: {error}")
            traceback.print_exc()
            return ExitCode.BUG
    return ExitCode.OK


def _parse(config_type: type[Config], text: str) -> list[Config]:
    try:
        document: Any = json.loads(text)
        return [config_type.model_validate(each) for each in (document if isinstance(document, list) else [document])]
    except (ValueError, ValidationError) as error:
        raise UserError(f"--config isn't a {config_type.__name__}: {redacted(str(error))}") from error


def _failed(error: BertlineError | signals.Stopped) -> ExitCode:
    progress.fail(error.exit_code, str(error))
    sys.stderr.write(f"error: {error}\n")
    return error.exit_code


def _end_with_parent() -> None:
    """Save and end when the `bertline run` that started this task has ended, even by kill -9.

    The next run may begin at once; it waits for the lease and keeps the scratch folder while this process locks it.
    """
    parent = int(os.environ.get(PARENT, 0))
    if not parent:
        return
    with contextlib.suppress(OSError):  # a disk without locks, on which nothing is removed
        fcntl.flock(os.open(os.environ[LOCK], os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)

    def watch() -> None:
        while _lives(parent):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # the pid now belongs to another user
        return False
    return True
