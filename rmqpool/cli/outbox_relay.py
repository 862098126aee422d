"""``rmqpool outbox relay``: publish what was committed, until told to stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rmqpool.cli.options import JsonOption, LogFormatOption, LogLevelOption
from rmqpool.cli.outbox_session import (
    BrokerOption,
    DatabaseOption,
    PrefixOption,
    SchemaOption,
    database_of,
    require_driver,
    tables_of,
)
from rmqpool.errors import PoolClosedError

if TYPE_CHECKING:
    from rmqpool.outbox.relay import Relay

__all__ = ["register"]


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("relay")(relay)


def relay(
    url: DatabaseOption = None,
    broker: BrokerOption = None,
    schema: SchemaOption = None,
    prefix: PrefixOption = "rmqpool",
    order: Annotated[
        Literal["key", "strict"], typer.Option("--order", help="One order for each key, or one for all rows.")
    ] = "key",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=100_000, help="Rows read at once.")] = 1000,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", min=1, metavar="BYTES", help="Bodies in memory at most, and one body more.")
    ] = 64 * 2**20,
    key_window: Annotated[
        int | None,
        typer.Option("--key-window", min=1, max=100_000, help="Rows of one key in flight at most.", show_default=False),
    ] = None,
    max_attempts: Annotated[
        int, typer.Option("--max-attempts", min=1, max=10_000, help="Failures after which a row is dead.")
    ] = 1000,
    doorbell: Annotated[
        bool,
        typer.Option("--doorbell/--no-doorbell", help="Listen for writers, or only poll."),
    ] = True,
    pgbouncer: Annotated[
        bool, typer.Option("--pgbouncer", help="The database is behind PgBouncer in transaction mode.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Shown in Postgres and RabbitMQ.", show_default=False)
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(min=0.0, max=86400.0, metavar="SECONDS", help="How long to wait for confirms at the end."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="Wait also for what only people mend: password, database, tables, rights.",
            show_default=False,
        ),
    ] = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = "info",
    as_json: JsonOption = False,
) -> None:
    """Publish the outbox's rows until SIGTERM or Ctrl-C. Any number of relays share the work.

    A server that is not there is waited for. What no waiting mends (a wrong password, an unknown database, missing tables
    or rights) ends it at the start with 4 or 6; with --wait it is waited for too, as it is later on.

    Logs go to stderr. It ends in good order with 0; a second signal ends it at once. Nothing is lost then: what was not
    confirmed is published again, with the same message id.

    \b
    Example:
      rmqpool outbox relay --url postgresql://user:password@localhost/shop --broker amqp://guest:guest@localhost/
    """
    from rmqpool.cli.logs import set_up_logging
    from rmqpool.cli.session import load
    from rmqpool.urls import build_url

    database, tables = database_of(url), tables_of(schema, prefix)
    settings = load(url=broker, grace=grace, log_format="json" if as_json else log_format)
    connection = settings.connection()
    require_driver()
    from rmqpool.outbox.inspection_connection import password_of
    from rmqpool.outbox.preflight import check_start
    from rmqpool.outbox.relay import Relay

    secrets = [connection.password.reveal(), password_of(database)]
    set_up_logging(settings.log_format, log_level, secrets=[secret for secret in secrets if secret])
    one = Relay(
        build_url(connection),
        database,
        tables=tables,
        order=order,
        batch_size=batch_size,
        max_bytes=max_bytes,
        key_window=key_window,
        doorbell=doorbell,
        pgbouncer=pgbouncer,
        max_attempts=max_attempts,
        name=name,
    )
    if not wait:
        check_start(database, tables)
    run(one, settings.grace)


def run(relay: Relay, grace: float) -> None:
    """Run in this thread until a signal; ``grace`` is seconds for what is in flight then. Main thread only."""
    stopping: list[threading.Thread] = []

    def stop(number: int, _: FrameType | None) -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, signal.SIG_DFL)  # the second one ends the process at once
        # run() occupies this thread: it would never see the stop that waits for it here.
        stopping.append(threading.Thread(target=relay.stop, args=(grace,), name="rmqpool outbox stop"))
        stopping[-1].start()

    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        relay.run()
    except PoolClosedError:
        if not stopping:  # the signal came before the start, which is refused then
            raise
    finally:
        for thread in stopping:
            thread.join(grace + 10.0)
        for one, handler in before.items():
            signal.signal(one, handler)
