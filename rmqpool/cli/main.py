"""The entry point: every command, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from rmqpool.cli.commands import Commands
from rmqpool.cli.exits import EXIT_CODES_HELP, ExitCode
from rmqpool.cli.failures import Failure, failure_of, missing_extra
from rmqpool.cli.misplaced import right_place
from rmqpool.cli.terminal import print_json, print_line, styled
from rmqpool.errors import RmqpoolError
from rmqpool.version import __version__

__all__ = ["app", "main", "run"]

_NAME = "rmqpool"
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # click's, or Typer's own copy of it


app = typer.Typer(
    name=_NAME,
    cls=Commands,
    help="RabbitMQ for Python services: publish, work, look and diagnose.\n\n"
    "\b\nExample:\n  rmqpool doctor --url amqp://guest:guest@localhost/\n\n" + EXIT_CODES_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: loading Rich takes longer than everything else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"rmqpool {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Only what all commands share."""


def main() -> NoReturn:
    """The command ``rmqpool``: runs and exits."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Errors of ours become a sentence on stderr, or an object with ``--json``."""
    warnings.showwarning = _show_warning
    as_json = wants_json(arguments)
    try:
        result = app(args=list(arguments), prog_name=_NAME, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output left
        return ExitCode.BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        return _tell(Failure("Interrupted", "interrupted", ExitCode.INTERRUPTED), as_json)
    except _UsageError as error:
        return _tell_usage(error, arguments, as_json)
    except RmqpoolError as error:
        return _tell(failure_of(error), as_json)
    except Exception as error:  # noqa: BLE001 - the end of the line: told with its traceback, and an exit code of its own
        return _tell(missing_extra(error) or _fault(error), as_json)
    return result if isinstance(result, int) else ExitCode.OK


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether errors are to be told as JSON: known before the command line is parsed, as that may fail too."""
    options = list(arguments)
    return "--json" in (options[: options.index("--")] if "--" in options else options)


def _tell(failure: Failure, as_json: bool) -> int:
    if as_json:
        print_json(failure.as_json())
        return failure.exit_code
    if failure.detail:
        print_line(failure.detail.rstrip(), error=True)
    print_line(f"{styled(f'{_NAME}:', 'red', sys.stderr)} {failure.message}", error=True)
    return failure.exit_code


def _tell_usage(error: Any, arguments: Sequence[str], as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else _NAME
    if type(error).__name__ == "NoArgsIsHelpError":
        print_line(error.format_message(), error=True)
        return ExitCode.USAGE
    message = _misplaced(error, arguments) or error.format_message().strip()
    sentence = f"{message}{'' if message.endswith(('.', '?')) else '.'} Try: {command} --help"
    return _tell(Failure("UsageError", sentence, ExitCode.USAGE), as_json)


def _misplaced(error: Any, arguments: Sequence[str]) -> str:
    option = getattr(error, "option_name", None)
    if option is None or error.ctx is None:
        return ""
    place = right_place(error.ctx.find_root().command, _NAME, option, arguments)
    return f"No such option: {option}. It stands after the command: {place}" if place else ""


def _fault(error: Exception) -> Failure:
    sentence = f"a fault inside rmqpool, please report it with the lines above: {type(error).__name__}"
    return Failure(type(error).__name__, sentence, ExitCode.INTERNAL, detail="".join(traceback.format_exception(error)))


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, UserWarning):
        print_line(f"{styled(f'{_NAME}: warning:', 'yellow', sys.stderr)} {message}", error=True)
