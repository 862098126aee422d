"""The timeout guard against a broker whose consumer timeout is seconds: the channel stays open, nothing is lost."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from rmqpool import Consumer, Delivery, InboxUnavailableError, Queue, RemoteError
from rmqpool.consumer import is_current
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.worker.failure import Failure
from rmqpool.worker.later import Later
from rmqpool.worker.parking import Parking, ParkingPlace
from rmqpool.worker.stats import Counters

TIMEOUT = 3.0  # seconds
TOLD = 0.8 * TIMEOUT  # what the worker is told: a busy machine has a while for what is due shortly before that


@pytest.fixture
def impatient(private_broker: RabbitMQNode, bench_on: Callable) -> Iterator:
    """A bench on a broker that closes the channel of what is unsettled for TIMEOUT, and looks five times a second."""
    private_broker.add_vhost("impatient")
    before = {name: private_broker.eval(f"application:get_env(rabbit, {name})") for name in SETTINGS}
    for name, milliseconds in SETTINGS.items():
        private_broker.command(f"application:set_env(rabbit, {name}, {milliseconds})")
    yield bench_on(private_broker.amqp_url(vhost="impatient"))
    for name, value in before.items():
        value = value.removeprefix("{ok,").removesuffix("}")
        set_or_not = f"application:unset_env(rabbit, {name})" if value == "undefined" else ""
        private_broker.command(set_or_not or f"application:set_env(rabbit, {name}, {value})")
    private_broker.delete_vhost("impatient")


SETTINGS = {"consumer_timeout": int(TIMEOUT * 1000), "channel_tick_interval": 200}


def test_an_overdue_message_is_parked_and_the_channel_lives(impatient, seconds, caplog):
    """Warned of once, parked with the reason; what waited behind it goes back; the late end of its handler does nothing."""
    bench = impatient
    worker = bench.worker()
    go_on = threading.Event()
    seen: list[int] = []

    @worker.consumer("orders", concurrency=1, prefetch=5, delivery_timeout=TOLD)
    def handle(order: dict) -> None:
        seen.append(order["id"])
        if order["id"] == 0:
            go_on.wait(30)

    with caplog.at_level(logging.WARNING, "rmqpool"):
        worker.start()
        bench.publisher.publish_many("orders", [{"id": number} for number in range(3)]).raise_for_failures()
        bench.wait(lambda: seen == [0])
        bench.wait(lambda: worker.stats().parked == 1, "the message to be parked")
        bench.wait(lambda: worker.stats().requeued >= 2, "what waited to go back")
        begun = seconds()
        bench.wait(lambda: seconds() > begun + TIMEOUT / 2, "the broker to have looked again")
    stats = worker.stats()
    assert (stats.consumers[0].last_error, stats.stale, stats.handled) == ("", 0, 0)
    assert (stats.overdue, stats.overdue_warned) == (3, 3)
    parked = bench.take("orders.dead")
    assert parked.headers["x-rmqpool-reason"] == "overdue"
    assert "did not settle it within" in parked.headers["x-rmqpool-exception-message"]
    warnings = [record.message for record in caplog.records if "make it faster" in record.message]
    assert len(warnings) == 1
    assert "handle has had message" in warnings[0]
    go_on.set()
    bench.wait(lambda: worker.stats().handled == 3)
    assert seen == [0, 1, 2]
    bench.wait_empty(worker, "orders", "orders.dead")
    assert "PRECONDITION_FAILED" not in caplog.text


def test_an_overdue_message_goes_back_when_told_so(impatient):
    """Another handler gets it while the first one still runs; the first one's ack does nothing."""
    bench = impatient
    worker = bench.worker()
    go_on = threading.Event()
    seen: list[bool] = []

    @worker.consumer("orders", concurrency=2, delivery_timeout=TOLD, overdue="requeue")
    def handle(order: dict, delivery: Delivery) -> None:
        seen.append(delivery.redelivered)
        if not delivery.redelivered:
            go_on.wait(30)

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: seen == [False, True])
    bench.wait(lambda: worker.stats().handled == 1)
    go_on.set()
    bench.wait(lambda: worker.stats().handled == 2)
    stats = worker.stats()
    assert (stats.overdue, stats.requeued, stats.parked, stats.consumers[0].last_error) == (1, 1, 0, "")
    bench.wait_empty(worker, "orders", "orders.dead")


def test_an_overdue_message_is_left_when_told_so(impatient, caplog):
    """It says what will happen, and it happens: the broker closes the channel, and the worker goes on with a new one."""
    bench = impatient
    worker = bench.worker()
    go_on = threading.Event()

    @worker.consumer("orders", concurrency=2, delivery_timeout=TOLD, overdue="leave")
    def handle(order: dict, delivery: Delivery) -> None:
        if not delivery.redelivered:
            go_on.wait(30)

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: "406" in worker.stats().consumers[0].last_error)
    assert "the broker will close the channel" in caplog.text
    go_on.set()
    bench.wait(lambda: worker.stats().handled == 2)
    assert worker.stats().overdue == 1
    bench.wait_empty(worker, "orders", "orders.dead")


def test_whoever_asked_is_told_that_the_request_is_overdue(impatient):
    """The caller hears of it at once, and once: what the handler returns later is no second reply."""
    bench = impatient
    worker = bench.worker()
    go_on = threading.Event()

    @worker.consumer("prices", delivery_timeout=TOLD)
    def price(body: dict) -> int:
        go_on.wait(30)
        return 7

    with worker:
        with pytest.raises(RemoteError, match="overdue"):
            bench.publisher.call("prices", {"sku": 1}, timeout=20)
        bench.wait(lambda: worker.stats().parked == 1)
        go_on.set()
        bench.wait(lambda: worker.stats().handled == 1)
        bench.wait_count("prices", 0)
    assert (worker.stats().answered, worker.stats().stale) == (0, 0)
    bench.wait_count("prices.dead", 1)


def test_a_message_that_is_parked_twice_at_once_has_one_copy(bench):
    """By the guard, and by its handler that fails in that moment."""
    counters, later = Counters(), Later("tested")
    parking = Parking(bench.pool, later, "tested")
    dead = Queue("orders.dead", dead_letter=None)
    bench.pool.declare([Queue("orders")])
    bench.publisher.publish("orders", {"id": 1})
    arrived: SimpleQueue[Delivery] = SimpleQueue()
    with Consumer(bench.pool, "orders", arrived.put):
        delivery = arrived.get(timeout=10)
        place = ParkingPlace(dead, True, False, counters, is_current)
        parking.park(delivery, Failure("overdue"), place)
        parking.park(delivery, Failure("exception"), place)
        assert parking.wait_idle(10)
    later.close(5)
    assert counters.values()["parked"] == 1
    assert bench.take("orders.dead").headers["x-rmqpool-reason"] == "overdue"
    bench.wait_count("orders", 0)
    bench.wait_count("orders.dead", 0)


def test_an_async_handler_is_guarded_too(impatient):
    """The same for coroutines."""
    bench = impatient
    worker = bench.worker()

    @worker.consumer("orders", delivery_timeout=TOLD)
    async def handle(order: dict) -> None:
        await asyncio.sleep(30)

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().parked == 1)
    assert worker.stats().consumers[0].last_error == ""
    worker.stop(0)
    bench.wait_count("orders", 0)
    bench.wait_count("orders.dead", 1)


class AwayForAWhile:
    """An inbox whose database cannot be reached, until it can."""

    is_async = False
    consumer = None

    def __init__(self) -> None:
        self.is_back = threading.Event()

    def open(self, concurrency: int) -> None: ...
    def close(self) -> None: ...

    @contextmanager
    def transaction(self, consumer: str, message_id: str) -> Iterator[object]:
        if not self.is_back.is_set():
            raise InboxUnavailableError("the database is away")
        yield object()


def test_messages_that_wait_for_their_inbox_are_not_parked(bench):
    """No handler has them: they go back shortly before the timeout, and are handled when the database is there again."""
    worker = bench.worker()
    inbox = AwayForAWhile()
    worker.consumer("orders", inbox=inbox, delivery_timeout=1.0)(lambda body: None)
    worker.start()
    bench.publisher.publish("orders", {}, message_id="one")
    bench.wait(lambda: worker.stats().overdue >= 1, "the message to go back", timeout=40)
    inbox.is_back.set()
    bench.wait(lambda: worker.stats().handled == 1, "the message to be handled", timeout=40)
    assert worker.stats().parked == 0
