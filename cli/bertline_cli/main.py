"""The `bertline` command: one file per command, imported on use, so that help and completion are fast."""

import errno
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core
import typer.main

import bertline
from bertline.errors import BertlineError, ExitCode
from bertline_pipelines.running import streams

COMMANDS = {
    "init": "Write an experiment file, or a profile, to start from.",
    "validate": "Check an experiment file and its inputs, before anything is run.",
    "plan": "What would run, what is done, hours, storage, cost.",
    "run": "Run an experiment on this machine.",
    "doctor": "Check everything that a run on a cluster needs.",
    "compile": "Write the Kubeflow pipeline to a file.",
    "submit": "Run the missing tasks of an experiment on a cluster.",
    "status": "What runs on the cluster, what waits, and why it waits.",
    "dashboard": "Watch an experiment: Grafana, an HTML page, or the terminal.",
    "logs": "Show a task's output: live from its pod, later from the store.",
    "cancel": "End a run; finished tasks are kept.",
    "results": "Accuracy, loss, time and memory of what is done.",
    "pull": "Download an experiment's results.",
    "export": "Weights for transformers, or in Google's format.",
    "report": "Write the report of what is done so far.",
    "corpus": "TFRecords from a Wikipedia dump, without an experiment.",
    "corpus preview": "Show the processing of an experiment's first articles, step by step.",
    "vocabulary": "Train a WordPiece vocabulary on a dump, without an experiment.",
    "store": "List, check and clean up the store.",
    "images": "Build, push and load the container images.",
}


class Commands(typer.core.TyperGroup):
    """The commands of `COMMANDS`, which are listed without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List commands in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one: `command` of a module, or its `app` of several."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bertline_cli.{cmd_name.replace(' ', '_')}")
        sub = getattr(module, "app", None)
        if sub is None:
            sub = typer.Typer(add_completion=False, rich_markup_mode=None)
            sub.command(epilog=module.EXAMPLE)(module.command)
        command = typer.main.get_command(sub)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve commands of two words whose first word is a command too."""
        if " ".join(args[:2]) in COMMANDS and len(args) > 1:
            return super().resolve_command(ctx, [" ".join(args[:2]), *args[2:]])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands in `bertline --help`."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    name="bertline",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},  # inherited by all commands
    rich_markup_mode=None,  # importing rich for help takes 0.6 s, three times all the rest
    help="Pre-train small BERTs, fine-tune them on the way, and trust the result.",
    epilog="Start with:  bertline init my.yaml  then  bertline run my.yaml",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bertline {bertline.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: prints a failure's message and exits with its code."""
    # Child processes must not import random.py or queue.py from the current folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.stderr = streams.lasting(sys.stderr)  # the exit code matters even if stderr is closed
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()  # a write error appears only now
    except BertlineError as error:
        code = error.exit_code
        _tell(code, str(error), getattr(error, "problems", ()))
    except (KeyboardInterrupt, typer.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # typer takes any for Ctrl-D at a question
            raise error.__cause__ from None
        code = ExitCode.INTERRUPTED
        _tell(code, "stopped; run the same command again to continue", prefix="")
    except OSError as error:
        code = _unwritable(error)
    except SystemExit as ended:  # typer's answer to a closed pipe is exit code 1, which here means a bug
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        code = _unwritable(ended.__context__)
    except Exception as error:
        show = getattr(error, "show", None)  # wrong options and arguments: the parser's own message
        if show is None:
            _tell_programs(ExitCode.BUG, f"{type(error).__name__}: {error}")
            raise
        show()
        code = ExitCode.USER_ERROR
        _tell_programs(code, getattr(error, "format_message", error.__str__)())
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _tell(code: ExitCode, message: str, problems: Sequence[object] = (), prefix: str = "error: ") -> None:
    """Print the message on stderr; with `--json` also a document on stdout."""
    typer.echo(f"{prefix}{message}", err=True)
    _tell_programs(code, message, problems)


def _tell_programs(code: ExitCode, message: str, problems: Sequence[object] = ()) -> None:
    if "--json" in sys.argv:
        family = code.name.lower().replace("_", " ")
        told = {"family": family, "exit_code": int(code), "message": message, "problems": list(problems)}
        typer.echo(json.dumps({"error": told}, indent=2))


def _unwritable(error: OSError) -> ExitCode:
    """The exit code if output can't be written: the reader has ended or the disk is full; raises other errors."""
    if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO):
        raise error
    # Otherwise Python would try to write the rest at its end, and report an error.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    if error.errno == errno.EPIPE:  # for example `| head`
        return ExitCode.OK
    typer.echo(f"error: can't write: {error.strerror}; free some space and run the same command again", err=True)
    return ExitCode.TRANSIENT
