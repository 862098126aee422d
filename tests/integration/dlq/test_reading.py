"""Looking takes nothing away and changes no order; which queue is meant is never guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rmqpool import ConnectionPool, NotFoundError, Queue
from rmqpool.dlq import DeadLetterQueue, Selection, condition, resolve
from tests.integration.dlq.conftest import Shop, names_of


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_looking_takes_nothing_and_keeps_the_order(shop: Shop, kind: str) -> None:
    """Also when it ends in the middle, three times, and more were parked meanwhile."""
    if kind == "classic":
        with shop.pool.channel() as channel:
            channel.queue_delete("orders.dead")
        shop.pool.declare_once([Queue("orders.dead", type="classic", dead_letter=None)])
    shop.park(range(1500))
    for limit in (1, 700, None):
        seen = [letter.message_id for letter in shop.letters.look(Selection(limit=limit))]
        assert seen == names_of(range(limit or 1500))
        shop.wait_count("orders.dead", 1500)
    shop.park(range(1500, 1505))
    assert shop.ids("orders.dead") == names_of(range(1505))


def test_a_look_that_ends_while_messages_are_on_their_way_keeps_the_order(shop: Shop) -> None:
    """What the broker had sent when the consumer was cancelled goes back with the rest, and counts as no failure."""
    shop.park(range(20))
    for _ in range(40):
        with ConnectionPool(shop.url) as pool:  # the first messages of a connection come in two parts
            list(DeadLetterQueue(pool, "orders.dead").look(Selection(limit=2)))
        shop.wait_count("orders.dead", 20)
    assert shop.ids("orders.dead") == names_of(range(20))


def test_a_look_ends_though_more_comes_all_the_time(shop: Shop) -> None:
    """It looks at what was there when it began."""
    shop.park(range(5))
    seen = []
    for letter in shop.letters.look(Selection()):
        seen.append(letter.message_id)
        shop.park(range(100 + len(seen), 101 + len(seen)))
    assert seen == names_of(range(5))


def test_only_what_is_meant_is_given(shop: Shop) -> None:
    """By condition, by the beginning of the reason, by age, by id, and all together."""
    shop.park(range(3), age=7200)
    shop.park(range(3, 6), **{"x-rmqpool-reason": "decode:corrupt"})
    now = datetime.now(UTC)
    meant = {
        "where": Selection(where=condition("header.number in [1, 4] and body.id > 2")),
        "age": Selection(where=condition("age > 3600 and reason == 'exception'")),
        "reason": Selection(reason="decode"),
        "since": Selection(since=now - timedelta(hours=1)),
        "ids": Selection(ids=frozenset({"m5", "m0"})),
        "all": Selection(
            reason="decode", since=now - timedelta(hours=1), where=condition("header.number != 4"), limit=1
        ),
    }
    found = {}
    for name, selection in meant.items():
        found[name] = [letter.message_id for letter in shop.letters.look(selection)]
        shop.wait_count("orders.dead", 6)
    assert found == {
        "where": ["m4"],
        "age": names_of(range(3)),
        "reason": names_of(range(3, 6)),
        "since": names_of(range(3, 6)),
        "ids": ["m0", "m5"],
        "all": ["m3"],
    }


def test_the_queue_of_work_is_never_taken_for_one_of_dead_letters(shop: Shop) -> None:
    """orders means orders.dead; a queue with another name must be said to be one."""
    shop.pool.declare_once([Queue("failures", dead_letter=None)])
    assert resolve(shop.pool, "orders") == resolve(shop.pool, "orders.dead") == "orders.dead"
    assert resolve(shop.pool, "failures", exact=True) == "failures"
    with pytest.raises(NotFoundError, match=r"no queue 'failures.dead'.*--exact"):
        resolve(shop.pool, "failures")
    with pytest.raises(NotFoundError, match="name another one"):
        resolve(shop.pool, "nowhere.dead")
