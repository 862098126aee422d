"""From the values of an outbox's health to findings: what is well, what is not, and what to do. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from rmqpool.cli.diagnosis.finding import Finding, problem, warning, well
from rmqpool.cli.outbox_session import seconds_text
from rmqpool.cli.redaction import redact
from rmqpool.outbox.inspection import Status
from rmqpool.outbox.inspection_health import Health, Holder, Sequence, TableHealth
from rmqpool.outbox.refusals import command
from rmqpool.outbox.tables import Tables, quote_identifier

__all__ = ["health_findings", "status_findings"]

LONG: Final = 60.0  # seconds: a transaction of that age, or a row that waits for so long, is worth a word
TOO_LONG: Final = 600.0  # seconds: from here on it is a problem
_MANY: Final = 100_000  # transactions behind a slot
_DEAD: Final = 1_000_000  # dead tuples: claiming slows down behind them
_TUNED: Final = ("outbox", "inbox")


def health_findings(health: Health, tables: Tables) -> Iterator[Finding]:
    """Server, commits, ids, vacuum, and who holds it back."""
    if health.read_only:
        yield warning("server", "this is a standby: relays cannot work here", "use the primary's URL")
    if not health.sees_all:
        yield warning(
            "rights",
            "this role may not see what other roles' sessions do: who holds back vacuum may be missing below",
            f"GRANT pg_read_all_stats TO {quote_identifier(health.role)}, or use another role",
        )
    if health.synchronous_commit == "off":
        yield warning(
            "commits",
            f"synchronous_commit is off for the role {health.role!r}: if it is for writers too, Postgres forgets what was "
            "committed just before it crashed, and its messages",
            "leave it on for all who write; relays turn it off by themselves, for their deletes only",
        )
    yield _ids(health.sequence, tables)
    if not health.autovacuum:
        yield problem("autovacuum", "autovacuum is off in the whole server", "set autovacuum and track_counts to on")
    else:
        untuned = [table for table in health.tables if _is_untuned(table)]
        yield from (_untuned(table, getattr(tables, table.name)) for table in untuned)
        if not untuned:
            yield well("autovacuum", "on, and set for these tables")
    yield from (_bloat(table) for table in health.tables if table.name == "outbox")
    yield from map(_holder, health.holders)
    if not health.holders:
        yield well("vacuum", "nothing holds it back")


def status_findings(status: Status, tables: Tables) -> Iterator[Finding]:
    """Relays, lag, lanes, stalled keys, dead rows."""
    relays = len(status.relays)
    waits = status.waiting.rows > 0
    if relays:
        yield well("relays", f"{relays} alive", relays=[dataclasses.asdict(relay) for relay in status.relays])
    else:
        tell = problem if waits else warning
        yield tell("relays", "no relay is alive", f"start one: {command(tables, 'relay')}", relays=[])
    yield _lag(status)
    owned = {lane for relay in status.relays for lane in relay.lanes}
    left = [lane.lane for lane in status.lanes if lane.lane not in owned and lane.oldest_age > LONG]
    if relays and left:
        text = f"rows wait in lanes that no relay owns: {', '.join(map(str, left))}"
        yield warning("lanes", text, _who_hangs(status), lanes=left)
    if status.stalled.rows:
        text = f"{status.stalled} keys stall, with {status.held} rows"
        yield warning("stalled", text, f"{command(tables, 'stalled')} shows why", **_counts(status, "stalled", "held"))
    elif status.held.rows:
        text = f"{status.held} rows are held, and no key stalls: was the table of stalled keys changed by hand?"
        tell = warning if relays else problem
        yield tell("stalled", text, "a relay sends them within seconds: is one alive?", **_counts(status, "held"))
    else:
        yield well("stalled", "no key stalls")
    if status.dead.rows:
        text = f"{status.dead} rows were given up"
        yield warning(
            "dead", text, f"{command(tables, 'dead')} shows why; replay or prune them", **_counts(status, "dead")
        )
    if status.next_due is not None and status.next_due < -LONG:
        text = f"scheduled rows are overdue by {seconds_text(-status.next_due)}"
        yield (warning if relays else problem)("scheduled", text, "relays release them: is one alive?")


def _who_hangs(status: Status) -> str:
    without = [relay.name or f"pid {relay.pid}" for relay in status.relays if not relay.lanes]
    if not without:
        return "is a relay hanging? Its log says so; restart it"
    return (
        f"the relays {', '.join(without)} own none: if they have --order strict and others have not, they keep each other "
        "from working; give all relays of this outbox the same order"
    )


def _ids(sequence: Sequence | None, tables: Tables) -> Finding:
    if sequence is None:
        return problem(
            "ids",
            f"the ids of {tables.outbox} come from no sequence of its own, so relays cannot work",
            f"ALTER TABLE {tables.outbox} ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY, with a START behind all ids",
        )
    if (sequence.cache, sequence.increment, sequence.cycles) == (1, 1, False):
        return well("ids", "they come from one sequence, without a cache")
    return problem(
        "ids",
        f"the sequence of {tables.outbox} has CACHE {sequence.cache}, INCREMENT {sequence.increment}"
        f"{', CYCLE' if sequence.cycles else ''}: ids do not tell the order of writing, and rows may be found late",
        f"ALTER TABLE {tables.outbox} ALTER COLUMN id SET CACHE 1 SET INCREMENT 1 SET NO CYCLE; then let writers connect "
        "anew: each session keeps the ids that it has cached",
        cache=sequence.cache,
        increment=sequence.increment,
        cycles=sequence.cycles,
    )


def _lag(status: Status) -> Finding:
    facts = {
        **_counts(status, "waiting"),
        "seconds": status.oldest_age or 0.0,
        "lanes": [dataclasses.asdict(lane) for lane in status.lanes],
    }
    age = status.oldest_age
    if age is None:
        return well("lag", "nothing waits", **facts)
    text = f"{status.waiting} rows wait in {len(status.lanes)} lanes, the oldest for {seconds_text(age)}"
    if age < LONG:
        return well("lag", text, **facts)
    advice = "are relays alive, and is the broker there and not blocked? rmqpool doctor looks at it"
    return (warning if age < TOO_LONG else problem)("lag", text, advice, **facts)


def _counts(status: Status, *names: str) -> dict[str, object]:
    return {name: dataclasses.asdict(getattr(status, name)) for name in names}


def _is_untuned(table: TableHealth) -> bool:
    return not table.autovacuum or (table.name in _TUNED and table.scale_factor != 0)


def _untuned(table: TableHealth, quoted: str) -> Finding:
    if not table.autovacuum:
        advice = f"ALTER TABLE {quoted} RESET (autovacuum_enabled)"
        return problem("autovacuum", f"autovacuum is off for the table {table.name}", advice)
    factor = "the server's" if table.scale_factor is None else f"{table.scale_factor:g}"
    return warning(
        "autovacuum",
        f"the table {table.name} is vacuumed by a share of its rows ({factor}), which means little for it",
        f"ALTER TABLE {quoted} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = "
        f"{10_000 if table.name == 'outbox' else 50_000})",
        table=table.name,
        scale_factor=table.scale_factor,
    )


def _bloat(table: TableHealth) -> Finding:
    megabytes = table.bytes / 1_000_000
    text = f"{table.live:,} live and {table.dead:,} dead rows in {megabytes:,.1f} MB by the statistics"
    if table.dead < _DEAD:
        return well("bloat", text, live=table.live, dead=table.dead, bytes=table.bytes)
    advice = "vacuum is held back, or does not keep up; VACUUM the table when what holds it back is gone"
    return warning("bloat", text, advice, live=table.live, dead=table.dead, bytes=table.bytes)


def _holder(holder: Holder) -> Finding:
    query = redact(holder.query)
    facts = {**dataclasses.asdict(holder), "query": query}
    since = f"{holder.transactions:,} transactions ago"
    if holder.kind == "slot":
        text = f"the replication slot {holder.name} ({holder.who}, {holder.state}) holds back {since}"
        if holder.state == "active" and holder.transactions < _MANY:
            return well("vacuum", text, **facts)
        advice = f"its reader is away or slow; if it never returns: SELECT pg_drop_replication_slot('{holder.name}')"
        return (problem if holder.transactions >= _MANY else warning)("vacuum", text, advice, **facts)
    age = holder.age or 0.0
    if holder.kind == "prepared":
        text = f"the prepared transaction {holder.name!r} of {holder.who}, {seconds_text(age)} old, holds it back"
        advice = f"COMMIT PREPARED or ROLLBACK PREPARED '{holder.name}'"
    else:
        text = f"pid {holder.name} ({holder.who}), {holder.state}, {seconds_text(age)} old, holds it back: {query}"
        advice = f"end its transaction; if nobody else does: SELECT pg_terminate_backend({holder.name})"
    if age < LONG:
        return well("vacuum", text, **facts)
    return (warning if age < TOO_LONG else problem)("vacuum", text, advice, **facts)
