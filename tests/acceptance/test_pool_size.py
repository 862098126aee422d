"""``rmqpool pool size``: measured or given rates, and the limits of the servers."""

from __future__ import annotations

from typing import Any

from rmqpool.testing.ports import ReservedPort
from tests.acceptance.conftest import EquippedBroker, Run


def figures_of(told: dict[str, Any]) -> dict[str, float]:
    """The figures by name."""
    return {one["name"]: one["value"] for one in told["figures"]}


def test_it_computes_offline_from_what_is_given(rmqpool: Run) -> None:
    """Little's law, Erlang's formula, the deadlock bound; each figure says why."""
    given = ("pool", "size", "--rate", "100", "--hold", "0.05", "--threads", "32", "--each", "1", "--offline")
    ended = rmqpool(*given, "--json")
    assert ended.code == 0
    assert ended.json["size"] == 12
    assert figures_of(ended.json) == {
        "in_use": 5,
        "for_the_rate": 12,
        "no_deadlock": 1,
        "never_more": 32,
        "size": 12,
        "channels_of_a_connection": 2046,
        "connections": 3,
    }
    assert all(one["because"] for one in ended.json["figures"])
    text = rmqpool(*given)
    assert "in use on average\t5\t100/s x 0.05 s each, on average (Little's law)" in text.out
    assert "note: the broker's limit of open files is not known (--offline): give it with --files" in text.out


def test_a_size_that_fits_no_connection_or_no_server_ends_with_1(inline: Run) -> None:
    """With what to do about it."""
    ended = inline(
        "pool", "size", "--threads", "50", "--each", "2", "--offline", "--channel-max", "64", "--files", "9000"
    )
    assert ended.code == 1
    assert "problem: 100 channels do not fit into one connection (63)" in ended.out
    full = inline(
        *("pool", "size", "postgres", "--rate", "250", "--hold", "0.02", "--instances", "40", "--offline"),
        *("--max-connections", "200", "--json"),
    )
    assert full.code == 1
    assert full.json["problems"] == [
        "480 connections do not fit into the 197 that are free: a pool of 4 in each instance is the most that fits, and with 5 "
        "in use on average it could not keep up; raise max_connections, run fewer instances, hold connections for less time, "
        "or put PgBouncer before Postgres"
    ]


def test_instances_behind_agents_cost_the_agents_connections(inline: Run) -> None:
    """Told by --hosts, or by the URL of an agent, and said in words."""
    given = (
        "pool",
        "size",
        "--rate",
        "5",
        "--hold",
        "0.01",
        "--instances",
        "400",
        "--offline",
        "--files",
        "2000",
        "--json",
    )
    assert figures_of(inline(*given).json)["connections"] == 1200
    behind = inline(*given, "--hosts", "4", "--agent-connections", "3")
    assert behind.code == 0
    assert figures_of(behind.json)["connections"] == 20
    reasons = {one["name"]: one["because"] for one in behind.json["figures"]}
    assert reasons["connections"] == "5 of the agent (3 publish, 1 consume, 1 lease) x 4 hosts, whatever is behind it"
    by_url = inline(*given, "--url", "agent:///run/rmqpool/agent.sock")
    assert figures_of(by_url.json)["connections"] == 4


def test_the_broker_is_measured_and_asked_for_its_limits(inline: Run, equipped_broker: EquippedBroker) -> None:
    """A lease's round trips, channel_max as agreed, files and queues from the management API."""
    ended = inline(
        *("pool", "size", "--rate", "200", "--calls", "2", "--instances", "3", "--json"),
        *("--url", equipped_broker.node.amqp_url(), "--management-url", equipped_broker.management_url),
    )
    assert ended.code == 0
    figures = figures_of(ended.json)
    assert 0 < figures["hold"] < 5
    assert figures["in_use"] == 200 * figures["hold"]
    assert figures["channels_of_a_connection"] == 2046
    assert figures["connections"] == 9
    assert (figures.get("files", 0) >= 18) != any("--files" in note for note in ended.json["notes"])


def test_a_management_api_that_is_not_there_is_a_note(inline: Run, vhost_url: str) -> None:
    """The size does not need it."""
    port = ReservedPort()
    ended = inline(
        *("pool", "size", "--threads", "4", "--json", "--url", vhost_url),
        *("--management-url", f"http://127.0.0.1:{port.number}"),
    )
    port.release()
    assert (ended.code, ended.json["size"]) == (0, 4)
    assert "not reachable" in ended.json["notes"][0]


def test_postgres_is_measured_and_asked_for_its_limits(inline: Run, postgres_url: str) -> None:
    """A transaction's round trips, max_connections, and what is kept back."""
    ended = inline("pool", "size", "postgres", "--rate", "100", "--calls", "3", "--postgres", postgres_url, "--json")
    assert ended.code == 0
    figures = figures_of(ended.json)
    assert 0 < figures["hold"] < 5
    assert 0 < figures["free_connections"] < 1000
    assert figures["connections"] == ended.json["size"]


def test_too_little_is_a_sentence(inline: Run) -> None:
    """Exit code 3, and what to give."""
    nothing = inline("pool", "size", "--offline")
    assert (nothing.code, nothing.err.count("\n")) == (3, 1)
    assert "give the rate and the hold time, or the threads" in nothing.err
    no_hold = inline("pool", "size", "--rate", "5", "--offline")
    assert no_hold.code == 3
    assert "--hold SECONDS" in no_hold.err
    no_database = inline("pool", "size", "postgres", "--threads", "4")
    assert no_database.code == 3
    assert "give --postgres postgresql://" in no_database.err
    absurd = inline("pool", "size", "--rate", "nan", "--url", "amqp://nobody.invalid")
    assert absurd.code == 3  # before anybody is asked
    assert "rate is nan" in absurd.err
