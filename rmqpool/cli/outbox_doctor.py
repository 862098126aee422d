"""``rmqpool outbox doctor``: what is wrong with an outbox and its database, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from rmqpool.cli.doctor import Told
from rmqpool.cli.exits import ExitCode
from rmqpool.cli.options import JsonOption
from rmqpool.cli.outbox_replica import MaxLagOption, ReplicaOption, replica_of
from rmqpool.cli.outbox_session import (
    BrokerOption,
    DatabaseOption,
    PrefixOption,
    SchemaOption,
    database_of,
    require_driver,
    tables_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rmqpool.cli.diagnosis.finding import Finding
    from rmqpool.outbox.tables import Tables
    from rmqpool.secret import Secret

__all__ = ["register"]


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("doctor")(doctor)


def doctor(
    url: DatabaseOption = None,
    broker: BrokerOption = None,
    replica_url: ReplicaOption = None,
    max_lag: MaxLagOption = None,
    schema: SchemaOption = None,
    prefix: PrefixOption = "rmqpool",
    as_json: JsonOption = False,
) -> None:
    """Look at the database, the tables, vacuum, the relays, a replica and the broker: what is wrong, and what to do.

    Who holds back vacuum is named: the pid, its query and age, the prepared transaction, or the replication slot.
    Nothing is changed. Ends with 0 if there is no problem (warnings do not count), with 1 if there is one.

    \b
    Example:
      rmqpool outbox doctor --url postgresql://user:password@localhost/shop
    """
    from rmqpool.cli.diagnosis.finding import exit_state

    tables = tables_of(schema, prefix)
    database = database_of(url)
    replica = replica_of(replica_url, max_lag)
    require_driver()
    told = Told(as_json, "server")
    server = _examine(database, tables, told.tell)
    if replica is not None:
        told.tell(_look_at_replica(database, replica, max_lag, tables))
    told.tell(_look_at_broker(broker))
    well_enough = exit_state(told.findings)
    told.end(well_enough, server)
    raise typer.Exit(ExitCode.OK if well_enough else ExitCode.PROBLEMS)


def _examine(database: str, tables: Tables, tell: Callable[[Finding], None]) -> str:
    from contextlib import closing

    from rmqpool.cli.diagnosis.finding import problem, skipped, well
    from rmqpool.cli.diagnosis.outbox import health_findings, status_findings
    from rmqpool.errors import ConfigurationError, ConnectionFailedError, OutboxSchemaError, RmqpoolError
    from rmqpool.outbox.inspection import status
    from rmqpool.outbox.inspection_connection import connect, explained
    from rmqpool.outbox.inspection_health import health
    from rmqpool.outbox.migrations import LATEST, check_version

    server = ""
    try:
        with closing(connect(database, name="rmqpool outbox doctor")) as connection:
            try:
                with explained(connection, tables):
                    check_version(connection, tables)
            except OutboxSchemaError as error:
                sentence, _, advice = str(error).partition("; ")
                tell(problem("schema", sentence, advice))
                tell(skipped("tables", "not looked at: they must be there, of this release's version"))
                return server
            tell(well("schema", f"{tables.outbox} is of version {LATEST}", version=LATEST))
            found = health(connection, tables)
            server = f"PostgreSQL {found.server}"
            tell(well("server", server))
            for finding in health_findings(found, tables):
                tell(finding)
            for finding in status_findings(status(connection, tables), tables):
                tell(finding)
    except (ConfigurationError, ConnectionFailedError) as error:
        tell(problem("connect", str(error), "rmqpool config show tells where the URL comes from"))
    except RmqpoolError as error:
        tell(problem("look", str(error)))
    return server


def _look_at_replica(database: str, replica: Secret, max_lag: float | None, tables: Tables) -> Finding:
    """One finding: the primary answers in its place."""
    from rmqpool.cli.diagnosis.finding import problem, skipped
    from rmqpool.cli.diagnosis.outbox_replica import replica_finding
    from rmqpool.errors import ConfigurationError
    from rmqpool.outbox.conninfo import read_conninfo
    from rmqpool.outbox.inspector import Inspector

    try:
        read_conninfo(database)
    except ConfigurationError:
        return skipped("replica", "not looked at: the database's URL cannot be read")
    try:
        return replica_finding(Inspector(database, replica=replica, max_lag=max_lag, tables=tables).replica_health())
    except ConfigurationError as error:
        return problem("replica", str(error), "rmqpool config show tells where the URL comes from")


def _look_at_broker(url: str | None) -> Finding:
    """One finding, last: the database is well or not without a broker."""
    from rmqpool.cli.diagnosis.finding import problem, skipped
    from rmqpool.cli.diagnosis.outbox_broker import broker_finding
    from rmqpool.cli.session import load, sources_of
    from rmqpool.errors import ConfigurationError

    try:
        settings = load(url=url)
        if sources_of(settings)["url"] == "default":
            return skipped("broker", "not looked at: none is named; give --broker, or set RMQPOOL_URL")
        return broker_finding(settings.connection())
    except ConfigurationError as error:
        return problem("broker", str(error), "rmqpool config show tells where the URL comes from")
