"""The outbox' status from a replica: where it came from, how far behind that was, and when the primary is asked instead."""

from __future__ import annotations

import asyncio

import psycopg
import psycopg_pool
import pytest
import sqlalchemy

from rmqpool.errors import ConfigurationError, ConnectionFailedError, OutboxError, OutboxSchemaError
from rmqpool.outbox import AsyncInspector, Inspector, Outbox, Tables
from rmqpool.outbox.repair import replay
from rmqpool.outbox.statements import lock_class
from rmqpool.testing.waiting import wait_until
from tests.replicated import Pair


def write(replicated: Pair, count: int = 1) -> None:
    with psycopg.connect(replicated.primary.url) as connection:
        for number in range(count):
            Outbox().publish(connection, "orders", {"id": number})


def inspector(replicated: Pair, **options: float) -> Inspector:
    return Inspector(replicated.primary.url, replica=replicated.replica.url, **{"max_lag": 3600.0, **options})


def test_a_replica_that_is_near_answers_and_the_primary_tells_its_relays(replicated: Pair) -> None:
    """Rows are the replica's; relays hold locks on the primary only."""
    write(replicated, 3)
    replicated.catch_up()
    with psycopg.connect(replicated.primary.url, application_name="a relay lanes") as relay:
        relay.execute(f"SELECT pg_advisory_xact_lock_shared({lock_class(Tables().outbox)}, -2)".encode())
        looked = inspector(replicated).status()
    assert looked.source == "replica"
    assert looked.why == ""
    assert 0 <= looked.lag <= 3600
    assert looked.found.waiting.rows == 3
    assert looked.relays_known
    assert [one.name for one in looked.found.relays] == ["a relay"]
    for found in (inspector(replicated).stalled_keys(), inspector(replicated).dead_rows()):
        assert (found.source, found.found) == ("replica", [])


def test_a_replica_that_lags_is_passed_over(replicated: Pair) -> None:
    """The primary is asked, and the result says how far behind the replica was; it is used again when it is near."""
    write(replicated)
    replicated.catch_up()
    replicated.pause_replay()
    write(replicated)
    looked = wait_until(
        lambda: found if (found := inspector(replicated, max_lag=0.2).status()).source == "primary" else None,
        "the replica to lag",
        timeout=60,
    )
    assert "behind, and 0.2 s are allowed" in looked.why
    assert looked.found.waiting.rows == 2
    assert inspector(replicated, max_lag=0.2).dead_rows().source == "primary"
    late = inspector(replicated, max_lag=3600).status()
    assert (late.source, late.found.waiting.rows) == ("replica", 1)
    assert late.lag > 0
    replicated.replica.psql("SELECT pg_wal_replay_resume()")
    replicated.catch_up()
    again = wait_until(
        lambda: found if (found := inspector(replicated, max_lag=0.2).status()).source == "replica" else None,
        "the replica to be used again",
        timeout=60,
    )
    assert again.found.waiting.rows == 2


def test_a_replica_that_is_away_is_passed_over(replicated: Pair) -> None:
    """Killed: the primary answers, and the result says why; so it does where the replica is no server at all."""
    write(replicated)
    replicated.replica.kill()
    looked = inspector(replicated).status()
    assert (looked.source, looked.found.waiting.rows, looked.relays_known) == ("primary", 1, True)
    assert "the replica could not be asked: no connection to Postgres" in looked.why
    assert inspector(replicated).stalled_keys().source == "primary"


def test_a_replica_answers_while_the_primary_is_away(replicated: Pair) -> None:
    """Whose relays are alive nobody knows then, and the result says so. Without both there is one error that names both."""
    write(replicated)
    replicated.catch_up()
    replicated.primary.stop()
    looked = inspector(replicated, max_lag=3600).status()
    assert (looked.source, looked.found.waiting.rows) == ("replica", 1)
    assert not looked.relays_known
    # Nobody sends: the replica is not known to have all.
    wait_until(
        lambda: inspector(replicated, max_lag=3600).status().lag > 0, "the replica to know that it is alone", timeout=60
    )
    replicated.replica.stop()
    with pytest.raises(ConnectionFailedError, match=r"neither server.*The primary: .*The replica: ") as caught:
        inspector(replicated).status()
    assert replicated.primary.password not in str(caught.value)


def test_a_primary_in_the_place_of_the_replica_is_told(replicated: Pair) -> None:
    """It is not used as one."""
    looked = Inspector(replicated.primary.url, replica=replicated.primary.url).status()
    assert looked.source == "primary"
    assert "is a primary" in looked.why


def test_a_replica_may_be_the_applications_own_pool(replicated: Pair) -> None:
    """Engines for reading and for writing, as applications have them."""
    engines = [
        sqlalchemy.create_engine(one.url.replace(":", "+psycopg:", 1))
        for one in (replicated.primary, replicated.replica)
    ]
    looked = Inspector(engines[0], replica=engines[1], max_lag=3600).dead_rows()
    assert looked.source == "replica"
    assert [one.pool.checkedout() for one in engines] == [0, 0]
    assert Inspector(engines[0], replica=engines[1]).health().read_only is False
    for one in engines:
        one.dispose()


def test_without_a_replica_the_primary_answers_and_mistakes_are_told(replicated: Pair) -> None:
    """Missing tables as everywhere; a lag that cannot be meant; nothing is changed on a replica."""
    assert Inspector(replicated.primary.url).status().source == "primary"
    with pytest.raises(OutboxSchemaError):
        Inspector(replicated.primary.url, replica=replicated.replica.url, tables=Tables(prefix="none")).status()
    with pytest.raises(ConfigurationError):
        Inspector(replicated.primary.url, max_lag=-1)
    with pytest.raises(OutboxError, match="read-only"):
        replay(replicated.replica.url, Tables(), stalls=None)


async def test_a_replica_is_asked_through_pools_that_are_awaited(replicated: Pair) -> None:
    """Behind which primary it is, it tells; a primary in its place is passed over; without both it is one error."""
    with psycopg.connect(replicated.primary.url) as connection:
        Outbox().publish(connection, "orders", {"id": 1})
    replicated.catch_up()
    async with psycopg_pool.AsyncConnectionPool(replicated.replica.url, min_size=0, max_size=1, open=False) as pool:
        inspector = AsyncInspector(replicated.primary.url, replica=pool, max_lag=3600)
        looked = await inspector.status()
        assert (looked.source, looked.found.waiting.rows, looked.relays_known) == ("replica", 1, True)
        healthy = await inspector.replica_health()
        assert (healthy.in_recovery, healthy.why) == (True, "")
        swapped = AsyncInspector(pool, replica=replicated.primary.url)
        assert "is a primary" in (await swapped.dead_rows()).why
        assert (await swapped.replica_health()).in_recovery is False
    await asyncio.to_thread(replicated.primary.stop)
    assert not (
        await AsyncInspector(replicated.primary.url, replica=replicated.replica.url, max_lag=3600).status()
    ).relays_known
    await asyncio.to_thread(replicated.replica.stop)
    with pytest.raises(ConnectionFailedError, match=r"neither server.*The primary: .*The replica: "):
        await AsyncInspector(replicated.primary.url, replica=replicated.replica.url).status()
