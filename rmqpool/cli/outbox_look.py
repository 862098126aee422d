"""``rmqpool outbox status``, ``stalled`` and ``dead``: what is in the outbox. Nothing is changed."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmqpool.cli.options import JsonOption
from rmqpool.cli.outbox_replica import MaxLagOption, ReplicaOption, looking, source_facts, tell_source
from rmqpool.cli.outbox_session import DatabaseOption, PrefixOption, SchemaOption, seconds_text, tables_of
from rmqpool.cli.terminal import print_json, print_line, print_table

if TYPE_CHECKING:
    from rmqpool.outbox.inspection import StalledKey, Status
    from rmqpool.outbox.inspector import Looked

__all__ = ["register", "stalled_facts", "status_facts"]

LimitOption = Annotated[int, typer.Option("--limit", min=1, max=100_000, metavar="N", help="Show at most so many.")]


def register(group: typer.Typer) -> None:
    """Add the commands to ``group``."""
    group.command("status")(status)
    group.command("stalled")(stalled)
    group.command("dead")(dead)


def status(
    url: DatabaseOption = None,
    schema: SchemaOption = None,
    prefix: PrefixOption = "rmqpool",
    replica_url: ReplicaOption = None,
    max_lag: MaxLagOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, max=3600.0, metavar="SECONDS", help="With --watch: how often.")
    ] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Show what waits, for how long, in which lanes, what stalls or is dead, and which relays are alive.

    Rows are counted up to 100,000; beyond that it says 100,000+. With --watch and --json: an object a line.

    \b
    Example:
      rmqpool outbox status
      rmqpool outbox status --watch
    """
    tables = tables_of(schema, prefix)
    with looking("status", url, replica_url, max_lag, tables, "status") as look:
        try:
            while True:
                looked = look()
                if as_json and watch:
                    print_line(json.dumps(_facts(looked)))
                elif as_json:
                    print_json(_facts(looked))
                else:
                    _show(looked.found, clear=watch and sys.stdout.isatty(), relays_known=looked.relays_known)
                    tell_source(looked)
                if not watch:
                    return
                threading.Event().wait(interval)
        except KeyboardInterrupt:
            if not watch:
                raise


def stalled(
    url: DatabaseOption = None,
    schema: SchemaOption = None,
    prefix: PrefixOption = "rmqpool",
    replica_url: ReplicaOption = None,
    max_lag: MaxLagOption = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List the keys that stall, those that do so for longest first, with the last error.

    A key stalls alone: its rows wait, the others go on. replay tries at once, skip gives the first row up.

    \b
    Example:
      rmqpool outbox stalled
    """
    tables = tables_of(schema, prefix)
    with looking("stalled", url, replica_url, max_lag, tables, "stalled_keys", limit=limit) as look:
        looked = look()
        found = looked.found
    if as_json:
        print_json({"ok": True, "stalled": [stalled_facts(one) for one in found], **source_facts(looked)})
        return
    tell_source(looked)
    if not found:
        print_line("nothing stalls", error=True)
        return
    columns = ("stall", "lane", "rows", "attempts", "for", "next in", "reason", "error")
    rows = [
        (
            one.stall,
            str(one.lane),
            str(one.held),
            str(one.attempts),
            seconds_text(one.since),
            seconds_text(one.next_at),
            one.reason,
            _line(one.error),
        )
        for one in found
    ]
    print_table(columns, rows, right=("lane", "rows", "attempts"))


def dead(
    url: DatabaseOption = None,
    schema: SchemaOption = None,
    prefix: PrefixOption = "rmqpool",
    replica_url: ReplicaOption = None,
    max_lag: MaxLagOption = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List the rows that were given up, the newest first, with the reason. Their bodies are not shown.

    \b
    Example:
      rmqpool outbox dead --limit 20
    """
    tables = tables_of(schema, prefix)
    with looking("dead", url, replica_url, max_lag, tables, "dead_rows", limit=limit) as look:
        looked = look()
        found = looked.found
    if as_json:
        told = [
            {**dataclasses.asdict(one), "created_at": one.created_at.isoformat(), "died_at": one.died_at.isoformat()}
            for one in found
        ]
        print_json({"ok": True, "dead": told, **source_facts(looked)})
        return
    tell_source(looked)
    if not found:
        print_line("no row is dead", error=True)
        return
    columns = ("id", "died at", "key", "exchange", "routing key", "message id", "attempts", "reason", "error")
    rows = [
        (
            str(one.id),
            one.died_at.isoformat(timespec="seconds"),
            "-" if one.key is None else _line(one.key),
            one.exchange or "-",
            one.routing_key,
            one.message_id,
            str(one.attempts),
            one.reason,
            _line(one.error),
        )
        for one in found
    ]
    print_table(columns, rows, right=("id", "attempts"))


def status_facts(found: Status) -> dict[str, Any]:
    """For machines: counts are objects with ``rows`` and ``more``; ages and times end with ``_seconds``."""
    facts = dataclasses.asdict(found)
    facts["oldest_age_seconds"], facts["next_due_seconds"] = facts.pop("oldest_age"), facts.pop("next_due")
    for lane in facts["lanes"]:
        lane["oldest_age_seconds"] = lane.pop("oldest_age")
    return facts


def stalled_facts(found: StalledKey) -> dict[str, Any]:
    """For machines, as :func:`status_facts`; ``next_in_seconds`` is negative when it is due."""
    facts = dataclasses.asdict(found)
    facts["since_seconds"], facts["next_in_seconds"] = facts.pop("since"), facts.pop("next_at")
    return facts


def _facts(looked: Looked[Status]) -> dict[str, Any]:
    facts = {"ok": True, **status_facts(looked.found), **source_facts(looked)}
    if not looked.relays_known:
        facts["relays"] = facts["awake"] = None
    return facts


def _show(found: Status, *, clear: bool, relays_known: bool) -> None:
    facts = [
        ("waiting", f"{found.waiting} rows"),
        ("oldest", seconds_text(found.oldest_age)),
        ("held", f"{found.held} rows of {found.stalled} stalled keys"),
        ("dead", f"{found.dead} rows"),
        ("scheduled", f"{found.scheduled} rows, the next in {seconds_text(found.next_due)}"),
        ("relays", f"{len(found.relays)} alive{', awake' if found.awake else ''}" if relays_known else "not known"),
    ]
    if clear:
        sys.stdout.write("\x1b[H\x1b[2J")
    print_table(("what", "now"), facts)
    owners = {lane: relay for relay in found.relays for lane in relay.lanes}
    nobody = "nobody" if relays_known else "not known"
    if found.lanes:
        print_line()
        lanes = [
            (
                str(one.lane),
                str(one.waiting),
                seconds_text(one.oldest_age),
                f"{owners[one.lane].name or 'relay'} ({owners[one.lane].pid})" if one.lane in owners else nobody,
            )
            for one in found.lanes
        ]
        print_table(("lane", "waiting", "oldest", "owner"), lanes, right=("lane", "waiting"))


def _line(text: str) -> str:
    return " ".join(text.split())
