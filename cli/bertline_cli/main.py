"""The `bertline` command: one file a command. What a command needs is imported when it runs: help is instant."""

import sys
from typing import Annotated

import typer

import bertline
from bertline.errors import BertlineError, ExitCode
from bertline_cli import cancel, compile, init, plan, pull, report, run, status, store, submit, validate

app = typer.Typer(
    name="bertline",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich for help takes 0.6 s, three times all the rest
    help="Pre-train small BERTs, fine-tune them on the way, and trust the result.",
    epilog="Start with:  bertline init my.yaml  then  bertline run my.yaml",
)
for module in (init, validate, plan, run, report, compile, submit, status, cancel, pull):
    app.command(epilog=module.EXAMPLE)(module.command)
    app.registered_commands[-1].name = module.__name__.rpartition(".")[2]
app.add_typer(store.app, name="store")


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
    """Entry point: a failure that has a message becomes that message and its family's exit code."""
    try:
        code = app(standalone_mode=False)
    except BertlineError as error:
        typer.echo(f"error: {error}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("stopped; run the same command again to go on", err=True)
        code = ExitCode.INTERRUPTED
    except Exception as error:
        show = getattr(error, "show", None)  # wrong options and arguments: the parser's own message
        if show is None:
            raise
        show()
        code = ExitCode.USER_ERROR
    sys.exit(code if isinstance(code, int) else ExitCode.OK)
