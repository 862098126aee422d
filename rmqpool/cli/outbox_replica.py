"""``--replica-url`` and ``--max-lag``: what is in the outbox, from a read-only replica."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmqpool.cli.outbox_session import connected, database_of, require_driver
from rmqpool.cli.terminal import print_line

if TYPE_CHECKING:
    from rmqpool.outbox.inspector import Inspector, Looked
    from rmqpool.outbox.tables import Tables
    from rmqpool.secret import Secret

__all__ = ["MaxLagOption", "ReplicaOption", "looking", "replica_of", "source_facts", "tell_source"]

ReplicaOption = Annotated[
    str | None,
    typer.Option(
        "--replica-url",
        metavar="URL",
        help="A read-only replica of the database, to be asked in its place. Otherwise RMQPOOL_POSTGRES_REPLICA_URL.",
        show_default=False,
    ),
]
MaxLagOption = Annotated[
    float | None,
    typer.Option(
        "--max-lag",
        min=0.001,
        max=86400.0,
        metavar="SECONDS",
        help="A replica that may be further behind is passed over.",
        show_default="10.0",
    ),
]


def replica_of(replica_url: str | None, max_lag: float | None) -> Secret | None:
    """The replica's URL, from the option or the settings; None if there is none. A usage error for a lag of none."""
    from rmqpool.cli.session import load

    replica = load(postgres_replica_url=replica_url).postgres_replica_url
    if replica is not None and replica:
        return replica
    if max_lag is not None:
        raise typer.BadParameter(
            "--max-lag is for a replica, and none is named: give --replica-url, or set RMQPOOL_POSTGRES_REPLICA_URL"
        )
    return None


@contextlib.contextmanager
def looking(
    command: str,
    url: str | None,
    replica_url: str | None,
    max_lag: float | None,
    tables: Tables,
    method: str,
    **options: Any,
) -> Iterator[Callable[[], Looked[Any]]]:
    """A function that looks again and again: with a method of an Inspector. Without a replica on one connection."""
    replica = replica_of(replica_url, max_lag)
    require_driver()
    from rmqpool.outbox.inspector import Inspector

    def of(inspector: Inspector) -> Callable[[], Looked[Any]]:
        return lambda: getattr(inspector, method)(**options)

    if replica is None:
        with connected(url, command, tables) as connection:
            yield of(Inspector(connection, tables=tables))
        return
    yield of(Inspector(database_of(url), replica=replica, max_lag=max_lag, tables=tables))


def source_facts(looked: Looked[Any]) -> dict[str, Any]:
    """For machines: where it was found."""
    return {"source": looked.source, "lag_seconds": round(looked.lag, 3), "why": looked.why}


def tell_source(looked: Looked[Any]) -> None:
    """For people, on stderr: the replica and how far behind it was, or why it was passed over."""
    if looked.source == "replica":
        behind = "it has all that the primary has" if looked.lag == 0 else f"at most {looked.lag:.1f} s behind"
        print_line(f"from the replica: {behind}", error=True)
        if not looked.relays_known:
            print_line("the primary could not be asked, and only it knows its relays", error=True)
    elif looked.why:
        print_line(f"from the primary: {looked.why}", error=True)
