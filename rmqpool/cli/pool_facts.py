"""What ``rmqpool pool size`` asks the servers: a round trip's time, and limits. Everything that is given is not asked."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rmqpool.cli.session import load, open_pool
from rmqpool.core.sizing import BrokerLimits, PostgresLimits
from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

    from rmqpool.config import Settings

__all__ = ["Facts", "of_broker", "of_postgres"]

_SAMPLES = 200
_ENOUGH = 3.0  # seconds: on a slow line fewer samples will do
_MAX_CONNECTIONS, _RESERVED = 100, 3  # Postgres' defaults

_LIMITS = """
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
       + coalesce(current_setting('reserved_connections', true)::int, 0),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> current_user)
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """``hold``: seconds, measured, or None; the limits of one server; ``notes`` on what could not be found out."""

    hold: float | None = None
    hold_because: str = ""
    broker: BrokerLimits | None = None
    postgres: PostgresLimits | None = None
    behind_agent: bool = False
    notes: tuple[str, ...] = ()


def of_broker(
    url: str | None,
    management_url: str | None,
    timeout: float,
    calls: int,
    channel_max: int | None,
    files: int | None,
    queues: int | None,
    offline: bool,
) -> Facts:
    """Of RabbitMQ; ``calls``: round trips of a lease to measure, 0 for none. Raises why the broker does not let us in."""
    settings = load(url=url)
    behind_agent = settings.connection().socket_path is not None
    if offline:
        limits = BrokerLimits(settings.connection().channel_max if channel_max is None else channel_max, files, queues)
        return Facts(broker=limits, behind_agent=behind_agent, notes=_unknown_files(files, "--offline"))
    notes: tuple[str, ...] = ()
    hold, because = None, ""
    if channel_max is None:
        channel_max = _agreed_channel_max(settings)
    if calls:
        hold, because = _mean(_leases(settings, timeout, calls), f"a lease with {_round_trips(calls)} to the broker")
    if files is None or queues is None:
        asked, told, why = _nodes(settings, management_url, timeout)
        files, queues = asked if files is None else files, told if queues is None else queues
        notes = _unknown_files(files, why)
    return Facts(hold, because, broker=BrokerLimits(channel_max, files, queues), behind_agent=behind_agent, notes=notes)


def of_postgres(
    url: str | None,
    timeout: float,
    calls: int,
    max_connections: int | None,
    reserved: int | None,
    others: int | None,
    offline: bool,
) -> Facts:
    """Of Postgres; ``calls``: statements of a transaction to measure, 0 for none. Raises why it does not let us in."""
    hold, because = None, ""
    if not offline and (calls or None in (max_connections, reserved, others)):
        from rmqpool.cli.outbox_session import database_of, require_driver

        database = database_of(url, "--postgres")
        require_driver()
        from rmqpool.outbox.inspection_connection import connect

        with contextlib.closing(connect(database, name="rmqpool pool size")) as connection:
            connection.execute(f"SET statement_timeout = {max(1, int(timeout * 1000))}")
            row = connection.execute(_LIMITS).fetchone()
            assert row is not None
            if calls:
                samples = _measured(lambda: _transaction(connection, calls))
                hold, because = _mean(samples, f"a transaction with {_round_trips(calls)} to Postgres")
        most, kept, there = row
    else:
        if max_connections is None:
            raise ConfigurationError("nobody is asked with --offline: give --max-connections")
        most, kept, there = _MAX_CONNECTIONS, _RESERVED, 0
    limits = PostgresLimits(
        most if max_connections is None else max_connections,
        kept if reserved is None else reserved,
        there if others is None else others,
    )
    return Facts(hold, because, postgres=limits)


def _agreed_channel_max(settings: Settings) -> int:
    """What client and broker agree on, at the first host that answers."""
    from rmqpool.cli.diagnosis.connecting import attempt

    connection = settings.connection()
    results = []
    for host in connection.hosts:
        results.append(attempt(connection, host))
        if results[-1].negotiated is not None:
            return results[-1].negotiated.channel_max
    error = results[-1].error
    assert error is not None
    raise error


def _leases(settings: Settings, timeout: float, calls: int) -> list[float]:
    """Seconds of leases with so many round trips each."""
    pool = open_pool(settings, "pool size", timeout)

    def lease() -> None:
        with pool.channel(timeout) as channel:
            for _ in range(calls):
                channel.exchange_declare("amq.direct", passive=True, timeout=timeout)  # asks, and changes nothing

    try:
        return _measured(lease)
    finally:
        pool.close(timeout=2.0)


def _nodes(settings: Settings, management_url: str | None, timeout: float) -> tuple[int | None, int | None, str]:
    """The smallest limit of open files among the nodes, and the queues of all; or why they are not known."""
    from rmqpool.cli.failures import ReportedError
    from rmqpool.cli.management import ManagementApi

    connection = settings.connection()
    if management_url is None and connection.socket_path is not None:
        return None, None, "behind an agent the management API is not known, --management-url names it"
    try:
        nodes, queues = ManagementApi(connection, management_url, timeout).files_and_queues()
    except ReportedError as error:
        return None, None, str(error)
    return (min(nodes) if nodes else None), queues, "this broker does not tell its limit"


def _unknown_files(files: int | None, why: str) -> tuple[str, ...]:
    return (
        () if files is not None else (f"the broker's limit of open files is not known ({why}): give it with --files",)
    )


def _transaction(connection: psycopg.Connection[Any], calls: int) -> None:
    with connection.transaction():
        for _ in range(calls):
            connection.execute("SELECT 1")


def _measured(call: Callable[[], None]) -> list[float]:
    """Seconds of each of some calls; the first one, which opens and warms up, does not count."""
    call()
    until = time.monotonic() + _ENOUGH
    return list(_timed(call, until))


def _timed(call: Callable[[], None], until: float) -> Iterator[float]:
    for number in range(_SAMPLES):
        began = time.perf_counter()
        call()
        yield time.perf_counter() - began
        if time.monotonic() > until and number:
            return


def _mean(samples: list[float], what: str) -> tuple[float, str]:
    mean = statistics.fmean(samples)
    slowest = sorted(samples)[int(len(samples) * 0.99)]
    return mean, f"measured: {what}, mean of {len(samples)}; 99 % within {slowest:.2g} s; add your own work"


def _round_trips(calls: int) -> str:
    return f"{calls} round trip{'s' if calls > 1 else ''}"
