"""From an outbox's values to findings: what is a word, a warning, a problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest

from rmqpool.cli.diagnosis.finding import Finding
from rmqpool.cli.diagnosis.outbox import health_findings, status_findings
from rmqpool.outbox.inspection import Count, LaneStatus, RelayStatus, Status
from rmqpool.outbox.inspection_health import Health, Holder, Sequence, TableHealth
from rmqpool.outbox.tables import Tables

DEFAULT = Tables()
RELAY = RelayStatus(7, "relay", tuple(range(64)))
IDLE = Status(Count(0), None, (), Count(0), Count(0), Count(0), Count(0), None, (RELAY,), True)
TABLE = TableHealth("outbox", True, 0.0, 10, 5, 8192, None)
WELL = Health("15.1", True, True, False, (), (TABLE, dataclasses.replace(TABLE, name="inbox")))
SESSION = Holder("session", "42", "me report", "idle in transaction", 5.0, 3, "SELECT 1")


def health_findings_of(health: Health, tables: Tables = DEFAULT) -> list[Finding]:
    """Of an outbox with these names."""
    return list(health_findings(health, tables))


def status_findings_of(status: Status, tables: Tables = DEFAULT) -> list[Finding]:
    """Of an outbox with these names."""
    return list(status_findings(status, tables))


def waiting(age: float, lane: int = 3) -> Status:
    """Two rows wait for so long."""
    return dataclasses.replace(IDLE, waiting=Count(2), oldest_age=age, lanes=(LaneStatus(lane, Count(2), age),))


def states(findings: Iterable[Finding]) -> dict[str, str]:
    """Those that are not well."""
    return {finding.stage: str(finding.state) for finding in findings if finding.state != "ok"}


def test_all_well_is_told_as_such() -> None:
    """No warning, no problem."""
    assert states(health_findings_of(WELL)) == {}
    assert states(status_findings_of(IDLE)) == {}


@pytest.mark.parametrize(("age", "state"), [(59.0, None), (61.0, "warning"), (601.0, "problem")])
def test_a_lag_and_an_old_transaction_get_worse_with_age(age: float, state: str | None) -> None:
    """From a minute on a warning, from ten a problem."""
    assert states(status_findings_of(waiting(age))).get("lag") == state
    for kind in ("session", "prepared"):
        holder = dataclasses.replace(SESSION, kind=kind, age=age)
        assert states(health_findings_of(dataclasses.replace(WELL, holders=(holder,)))).get("vacuum") == state


def test_no_relay_is_a_problem_only_when_something_waits() -> None:
    """Otherwise it is worth a word."""
    assert states(status_findings_of(dataclasses.replace(IDLE, relays=()))) == {"relays": "warning"}
    assert states(status_findings_of(dataclasses.replace(waiting(1.0), relays=()))) == {"relays": "problem"}


def test_rows_in_a_lane_that_nobody_owns_are_told() -> None:
    """If they wait for longer than lanes need to change hands."""
    relay = RelayStatus(7, "relay", (1, 2))
    assert "lanes" not in states(status_findings_of(dataclasses.replace(waiting(30.0), relays=(relay,))))
    found = {one.stage: one for one in status_findings_of(dataclasses.replace(waiting(70.0), relays=(relay,)))}
    assert found["lanes"].facts["lanes"] == [3]


def test_relays_of_different_orders_are_told() -> None:
    """Nobody owns a lane with rows, and a relay owns none: in strict order it needs all of them, and others have some."""
    relays = (RelayStatus(7, "strict one", ()), RelayStatus(8, "other", tuple(range(32, 64))))
    found = {one.stage: one for one in status_findings_of(dataclasses.replace(waiting(70.0), relays=relays))}
    assert "strict one" in found["lanes"].advice
    assert "the same order" in found["lanes"].advice


@pytest.mark.parametrize("sequence", [None, Sequence(10, 1, False), Sequence(1, 2, False), Sequence(1, 1, True)])
def test_ids_that_tell_no_order_are_a_problem(sequence: Sequence | None) -> None:
    """Each session would give the ids of its own cache, so that a lower id appears after a higher one was settled."""
    assert states(health_findings_of(dataclasses.replace(WELL, sequence=sequence))) == {"ids": "problem"}


def test_commits_that_do_not_wait_for_the_disk_are_told() -> None:
    """What a writer commits then may be forgotten in a crash, with its message."""
    assert states(health_findings_of(dataclasses.replace(WELL, synchronous_commit="off"))) == {"commits": "warning"}


def test_advice_has_the_names_of_the_tables() -> None:
    """What is to be run can be copied, whatever the outbox is called."""
    tables = Tables(schema="shop", prefix="events")
    stuck = dataclasses.replace(waiting(1.0), relays=(), stalled=Count(1), dead=Count(1))
    untuned = dataclasses.replace(WELL, tables=(dataclasses.replace(TABLE, scale_factor=None),))
    advice = " ".join(one.advice for one in (*status_findings_of(stuck, tables), *health_findings_of(untuned, tables)))
    for command in ("relay", "stalled", "dead"):
        assert f"rmqpool outbox {command} --schema shop --prefix events" in advice
    assert 'ALTER TABLE "shop"."events_outbox" SET' in advice


def test_held_rows_without_a_stalled_key_are_told() -> None:
    """A relay sends them within seconds; without one, nobody does."""
    held = dataclasses.replace(IDLE, held=Count(2))
    assert states(status_findings_of(held)) == {"stalled": "warning"}
    assert states(status_findings_of(dataclasses.replace(held, relays=())))["stalled"] == "problem"
    assert states(status_findings_of(dataclasses.replace(held, stalled=Count(1)))) == {"stalled": "warning"}


def test_overdue_scheduled_rows_are_told() -> None:
    """A relay should have released them."""
    late = dataclasses.replace(IDLE, scheduled=Count(1), next_due=-61.0)
    assert states(status_findings_of(late)) == {"scheduled": "warning"}
    assert states(status_findings_of(dataclasses.replace(late, relays=())))["scheduled"] == "problem"


@pytest.mark.parametrize(
    ("state", "transactions", "expected"),
    [("active", 10, None), ("inactive", 10, "warning"), ("active", 100_000, "problem")],
)
def test_a_slot_is_judged_by_its_reader_and_what_it_holds_back(
    state: str, transactions: int, expected: str | None
) -> None:
    """An active one that keeps up is none of our business."""
    slot = Holder("slot", "replica", "physical", state, None, transactions)
    assert states(health_findings_of(dataclasses.replace(WELL, holders=(slot,)))).get("vacuum") == expected


def test_vacuum_settings_are_judged() -> None:
    """Off is a problem, untuned a warning, many dead rows too."""
    untuned = dataclasses.replace(WELL, tables=(dataclasses.replace(TABLE, scale_factor=None),))
    off = dataclasses.replace(WELL, tables=(dataclasses.replace(TABLE, autovacuum=False),))
    bloated = dataclasses.replace(WELL, tables=(dataclasses.replace(TABLE, dead=2_000_000),))
    assert states(health_findings_of(untuned)) == {"autovacuum": "warning"}
    assert states(health_findings_of(off)) == {"autovacuum": "problem"}
    assert states(health_findings_of(bloated)) == {"bloat": "warning"}
    assert states(health_findings_of(dataclasses.replace(WELL, autovacuum=False))) == {"autovacuum": "problem"}
    limited = dataclasses.replace(WELL, sees_all=False, read_only=True)
    assert states(health_findings_of(limited)) == {"rights": "warning", "server": "warning"}


def test_a_query_is_told_without_its_passwords() -> None:
    """A URL in a query (dblink, foreign servers) may hold one."""
    query = "SELECT dblink('postgresql://u:hunter2secret@h/d')"
    holder = dataclasses.replace(SESSION, query=query, age=100.0)
    (found,) = [
        one for one in health_findings_of(dataclasses.replace(WELL, holders=(holder,))) if one.stage == "vacuum"
    ]
    assert "dblink" in found.text
    assert "hunter2secret" not in f"{found}"
