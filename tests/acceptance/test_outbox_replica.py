"""``rmqpool outbox status --replica-url``: from the replica, or from the primary with the reason."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from rmqpool.outbox import Outbox
from tests.acceptance.conftest import Run
from tests.replicated import Pair


@pytest.fixture
def outbox(inline: Run, replicated: Pair, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``rmqpool outbox`` with both servers in the environment, and one row in the outbox."""
    monkeypatch.setenv("RMQPOOL_POSTGRES_URL", replicated.primary.url)
    monkeypatch.setenv("RMQPOOL_POSTGRES_REPLICA_URL", replicated.replica.url)
    with psycopg.connect(replicated.primary.url) as connection:
        Outbox().publish(connection, "orders", {"id": 1})
    replicated.catch_up()
    return lambda command, *more: inline("outbox", command, "--max-lag", "3600", *more)


def test_a_replica_is_asked_and_named(outbox: Run, replicated: Pair) -> None:
    """Behind which primary it is, people read on stderr, and machines in the object."""
    told = outbox("status", "--json").json
    assert (told["source"], told["waiting"]["rows"], told["relays"], told["why"]) == ("replica", 1, [], "")
    assert 0 <= told["lag_seconds"] <= 3600
    shown = outbox("status")
    assert "from the replica: " in shown.err
    assert "1 rows" in shown.out
    for command in ("stalled", "dead"):
        assert outbox(command, "--json").json["source"] == "replica"


def test_a_replica_that_will_not_do_is_told(outbox: Run, replicated: Pair) -> None:
    """A primary given as one, and one that is away: the primary answers, and stderr says why. No password shows."""
    found = outbox("dead", "--replica-url", replicated.primary.url)
    assert "from the primary: what was given as the replica is a primary" in found.err
    replicated.replica.kill()
    found = outbox("status")
    assert found.code == 0
    assert "from the primary: the replica could not be asked" in found.err
    assert replicated.primary.password not in found.err + found.out


def test_the_doctor_looks_at_the_replica(outbox: Run, replicated: Pair) -> None:
    """Well while it would be asked; a warning with the reason when the primary is asked in its place."""

    def look(*more: str) -> dict[str, Any]:
        ended = outbox("doctor", "--json", *more)
        (found,) = [one for one in ended.json["findings"] if one["stage"] == "replica"]
        assert replicated.primary.password not in ended.text
        return dict(found)

    found = look()
    assert (found["state"], found["facts"]["in_recovery"], found["facts"]["why"]) == ("ok", True, "")
    assert 0 <= found["facts"]["lag_seconds"] <= 3600
    found = look("--replica-url", replicated.primary.url)
    assert (found["state"], found["facts"]["in_recovery"]) == ("warning", False)
    found = look("--replica-url", "postgresql://shop:a@b@127.0.0.1/shop")
    assert (found["state"], found["text"].startswith("the replica's URL cannot be read")) == ("problem", True)
    replicated.replica.kill()
    found = look()
    assert (found["state"], found["facts"]["in_recovery"]) == ("warning", None)
    assert "the replica could not be asked" in found["text"]


def test_a_replica_tells_what_it_knows_without_its_primary(outbox: Run, replicated: Pair) -> None:
    """Relays are null then, for nobody knows them."""
    replicated.primary.stop()
    told = outbox("status", "--json").json
    assert (told["source"], told["relays"], told["awake"]) == ("replica", None, None)
    shown = outbox("status")
    assert "only it knows its relays" in shown.err
    assert "not known" in shown.out
