"""A replay loses nothing, doubles nothing that it need not, and ends."""

from __future__ import annotations

from collections import Counter

import pytest

from rmqpool import ConfigurationError, Delivery, Worker
from rmqpool import headers as names
from rmqpool.dlq import Replay, Selection, condition
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.integration.dlq.conftest import Shop, names_of, own_headers


@pytest.mark.parametrize("window", [1, 16])
def test_messages_go_back_in_order_with_their_id_and_without_our_headers(shop: Shop, window: int) -> None:
    """Body and headers of their own are as they were; the dead-letter queue is empty."""
    shop.park(range(40))
    report = Replay(shop.letters, Selection(), window=window).run()
    assert (report.ready, report.replayed, report.failed, report.in_hand, report.stopped) == (40, 40, 0, 0, "")
    found = shop.take_all("orders")
    assert [delivery.message_id for delivery in found] == names_of(range(40))
    assert found[3].body == b'{"id":3}'
    assert own_headers(found[3]) == {"number": 3}
    assert shop.count("orders.dead") == 0


def test_what_is_not_meant_stays_in_its_order(shop: Shop) -> None:
    """A condition and a limit; the others stand as before."""
    shop.park(range(10))
    report = Replay(shop.letters, Selection(where=condition("header.number >= 5"), limit=3), window=2).run()
    shop.wait_count("orders.dead", 7)
    assert (report.replayed, report.seen) == (3, 8)
    assert shop.ids("orders") == names_of([5, 6, 7])
    assert shop.ids("orders.dead") == names_of([0, 1, 2, 3, 4, 8, 9])


def test_many_that_are_not_meant_stay_in_their_order(shop: Shop) -> None:
    """Between those that are sent, and more than a consumer holds at once."""
    shop.park(range(600))
    report = Replay(shop.letters, Selection(where=condition("header.number in [0, 40, 41, 300, 599]"))).run()
    assert (report.replayed, report.seen) == (5, 600)
    assert shop.ids("orders.dead") == names_of(n for n in range(600) if n not in (0, 40, 41, 300, 599))


def test_what_fails_again_is_not_replayed_again_by_the_same_run(shop: Shop) -> None:
    """A worker parks all of it while the replay runs: it ends, and each message was handled once."""
    handled: Counter[str] = Counter()
    worker = Worker("failing", shop.url)

    @worker.consumer("orders")
    def refuse(order: dict[str, int], delivery: Delivery) -> None:
        handled[delivery.message_id or ""] += 1
        raise ValueError(order)

    shop.park(range(50))
    worker.start()
    try:
        report = Replay(shop.letters, Selection()).run()
        wait_until(lambda: worker.stats().parked == 50, "all to be parked again", timeout=10)
    finally:
        worker.stop(5)
    assert report.replayed == 50
    assert handled == Counter(names_of(range(50)))
    assert sorted(shop.ids("orders.dead")) == sorted(names_of(range(50)))


def test_a_message_whose_queue_is_gone_stays_and_is_told(shop: Shop) -> None:
    """The others are sent; what tells no queue, or this one, needs to be told where to."""
    shop.park(range(1), queue="gone")
    shop.park(range(1, 2), queue=None)
    shop.park(range(2, 3), queue="orders.dead")
    shop.park(range(3, 5))
    report = Replay(shop.letters, Selection()).run()
    shop.wait_count("orders.dead", 3)
    assert (report.replayed, report.failed) == (2, 3)
    assert [(left.message_id, left.queue) for left in report.left] == [
        ("m0", "gone"),
        ("m1", ""),
        ("m2", "orders.dead"),
    ]
    assert "declare it" in report.left[0].error
    assert all("--to" in left.error for left in report.left[1:])
    assert shop.ids("orders.dead") == names_of(range(3))
    assert Replay(shop.letters, Selection(), to="orders").run().replayed == 3
    with pytest.raises(ConfigurationError, match="itself"):
        Replay(shop.letters, Selection(), to="orders.dead")


def test_what_the_broker_dead_lettered_goes_back_to_its_queue(shop: Shop) -> None:
    """It has no header of ours; x-death names its queue."""
    shop.publisher.publish("orders", {"id": 1}, message_id="m1", headers={"tenant": "a"})
    with shop.pool.channel() as channel:
        delivery = channel.basic_get("orders")
        assert delivery is not None
        channel.basic_reject(delivery.delivery_tag, requeue=False)
    shop.wait_count("orders.dead", 1)
    (letter,) = shop.letters.look(Selection(where=condition("reason == 'broker:rejected'")))
    assert (letter.queue, letter.message_id) == ("orders", "m1")
    shop.wait_count("orders.dead", 1)
    assert Replay(shop.letters, Selection()).run().replayed == 1
    (back,) = shop.take_all("orders")
    assert (back.message_id, own_headers(back)) == ("m1", {"tenant": "a"})


def test_it_can_be_stopped_between_any_two_messages(shop: Shop) -> None:
    """What was sent is gone from here, everything else is here, and the next run goes on."""
    shop.park(range(20))
    run = Replay(shop.letters, Selection(), stop=lambda: run.report.replayed >= 7)
    assert run.run().stopped == "interrupted"
    shop.wait_count("orders.dead", 13)
    assert shop.ids("orders") == names_of(range(7))
    assert Replay(shop.letters, Selection(), window=4).run().replayed == 13
    assert shop.ids("orders") == names_of(range(20))


@pytest.mark.parametrize("window", [1, 10])
def test_connections_that_are_lost_in_the_middle_lose_and_double_nothing(
    shop: Shop, broker: RabbitMQNode, vhost: str, window: int
) -> None:
    """What was confirmed and comes again is acknowledged, not sent again."""
    shop.park(range(200))
    cuts = [40, 90, 150]

    def cut() -> None:
        if cuts and run.report.replayed >= cuts[0]:
            cuts.pop(0)
            for row in broker.list_connections():
                if row["vhost"] == vhost and ":lease" in (row["user_provided_name"] or ""):
                    broker.close_connection(row["user_provided_name"])

    run = Replay(shop.letters, Selection(where=condition("header.number != 0")), window=window, pause=cut)
    report = run.run()
    shop.wait_count("orders.dead", 1)
    assert cuts == []
    assert (report.replayed, report.failed) == (199, 0)
    assert sorted(shop.ids("orders")) == sorted(names_of(range(1, 200)))


def test_a_broker_that_takes_nothing_ends_the_run(shop: Shop, vhost: str, private_broker: RabbitMQNode) -> None:
    """A blocked broker gives no answer: the message stays, and the run does not wait for each of the others."""
    private_broker.add_vhost(vhost)
    other = Shop(private_broker.amqp_url(vhost=vhost))
    try:
        other.park(range(3))
        other.letters.timeout = 2.0
        private_broker.raise_memory_alarm()
        report = Replay(other.letters, Selection()).run()
        private_broker.clear_memory_alarm()
        other.wait_count("orders.dead", 3)
    finally:
        private_broker.clear_memory_alarm()
        other.pool.close()
    assert (report.replayed, report.failed) == (0, 1)
    assert "was not" in report.stopped or "no confirm" in report.stopped


def test_the_first_failure_of_a_message_that_is_parked_again_is_a_new_one(shop: Shop) -> None:
    """A replay is a new beginning for attempts and time; where it was first published to stays."""
    shop.park(range(1), **{names.FIRST_FAILURE_AT: "2020-01-01T00:00:00+00:00", names.ORIGINAL_EXCHANGE: "shop"})
    Replay(shop.letters, Selection()).run()
    (delivery,) = shop.take_all("orders")
    assert delivery.attempt == 1
    assert own_headers(delivery) == {"number": 0, names.ORIGINAL_EXCHANGE: "shop"}
