"""From the options of ``rmqpool outbox`` to a connection and tables; and what its commands ask before they change."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

    from rmqpool.outbox.tables import Tables

__all__ = [
    "BrokerOption",
    "DatabaseOption",
    "DryRunOption",
    "PrefixOption",
    "SchemaOption",
    "YesOption",
    "ask",
    "connected",
    "database_of",
    "duration",
    "seconds_text",
    "tables_of",
]

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The outbox's database: postgresql://user:password@host:5432/database. "
        "Otherwise RMQPOOL_POSTGRES_URL, or [tool.rmqpool] in pyproject.toml.",
        show_default=False,
    ),
]
BrokerOption = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="URL",
        help="Where the broker is: amqp://user:password@host:5672/virtual-host. Otherwise RMQPOOL_URL.",
        show_default=False,
    ),
]
SchemaOption = Annotated[
    str | None,
    typer.Option(
        "--schema", metavar="NAME", help="The tables' schema; otherwise what search_path finds.", show_default=False
    ),
]
PrefixOption = Annotated[str, typer.Option("--prefix", metavar="NAME", help="What the tables' names begin with.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.", show_default=False)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_NAMES = (("d", 86400), ("h", 3600), ("min", 60))


def tables_of(schema: str | None, prefix: str) -> Tables:
    """The tables of the options. ConfigurationError for a name that Postgres would refuse."""
    from rmqpool.outbox.tables import Tables

    return Tables(schema, prefix)


def database_of(url: str | None, option: str = "--url") -> str:
    """The URL of the database, from the option, the environment or pyproject.toml. ConfigurationError if there is none."""
    from rmqpool.cli.session import load

    settings = load(postgres_url=url)
    if settings.postgres_url is None or not settings.postgres_url:
        raise ConfigurationError(
            f"no database is named: set RMQPOOL_POSTGRES_URL (or RMQPOOL_POSTGRES_URL_FILE), or give {option} "
            "postgresql://user:password@host:5432/database"
        )
    return settings.postgres_url.reveal()


@contextlib.contextmanager
def connected(url: str | None, command: str, tables: Tables) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the outbox's database, closed at the end. Postgres' refusals become errors of ours."""
    database = database_of(url)
    require_driver()
    from rmqpool.outbox.inspection_connection import connect, explained

    with (
        contextlib.closing(connect(database, name=f"rmqpool outbox {command}")) as connection,
        explained(connection, tables),
    ):
        yield connection


def require_driver() -> None:
    """ConfigurationError if psycopg is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise ConfigurationError("psycopg is not installed: pip install 'rmqpool[postgres]'") from None


def ask(question: str, yes: bool) -> None:
    """Ask before something is changed; ``yes`` says that it was answered. Ends the command unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} Nobody is there to answer: add --yes, or look first with --dry-run")
    typer.confirm(question, abort=True, err=True)


def duration(text: str | None, option: str) -> timedelta | None:
    """``30d``, ``12h``, ``90m``, ``45s``, ``2w``; None for None. A usage error for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhdw])", text.strip())
    if match is None or (found := float(match[1]) * _UNITS[match[2]]) > 1000 * 365 * 86400:
        raise typer.BadParameter(f"{option} must be a number with a unit, such as 30d, 12h, 90m, 45s or 2w")
    return timedelta(seconds=found)


def seconds_text(seconds: float | None) -> str:
    """``3.2 s``, ``5 min 12 s``, ``2 h 5 min``, ``3 d 4 h``; a dash for None. Negative ones count as 0."""
    if seconds is None:
        return "-"
    rest = max(0.0, seconds)
    if rest < 60:
        return f"{rest:.1f} s"
    for position, (name, size) in enumerate(_NAMES):
        if rest >= size:
            smaller, unit = _NAMES[position + 1] if position + 1 < len(_NAMES) else ("s", 1)
            return f"{int(rest // size)} {name} {int(rest % size // unit)} {smaller}"
    raise AssertionError("60 seconds are a minute")
