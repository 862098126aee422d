"""A consumer that the broker serves no more heals itself, says so, and is not ready until it did."""

import logging
import threading

from rmqpool import Queue
from rmqpool.testing.proxy import FaultProxy

CANCEL = (
    '{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"orders">>)),'
    ' [gen_server2:call(amqqueue:get_pid(Queue), {{basic_cancel, element(1, C), element(2, C), undefined, <<"test">>}})'
    " || C <- rabbit_amqqueue:consumers(Queue)], ok"
)


def test_a_consumer_that_was_cancelled_behind_its_back_is_subscribed_again(bench, broker, vhost, caplog):
    """The queue forgets it without a word; it notices that nobody consumes, and what waits is handled."""
    worker = bench.worker()

    @worker.consumer("orders", queue=Queue("orders", type="classic"), stalled_after=0.5)
    def handle(order: dict) -> None: ...

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().handled == 1)
    broker.command(CANCEL.format(vhost=vhost))
    bench.publisher.publish("orders", {"id": 2})
    with caplog.at_level(logging.INFO, "rmqpool"):
        bench.wait(lambda: worker.stats().handled == 2, "the message that waited")
        bench.wait(lambda: worker.stats().healed == 1)
    assert worker.is_ready
    assert worker.stats().stalled == 1
    assert "the broker delivers nothing to the consumer of queue 'orders'" in caplog.text
    assert "0 consumers): it is subscribed anew" in caplog.text
    assert "is served again" in caplog.text
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_channel_whose_frames_vanish_costs_its_connection(bench, bench_on, broker, vhost, caplog):
    """Heartbeats go on, the channel is dumb: not ready, then another connection, and nothing is lost."""
    with FaultProxy((broker.host, broker.port)) as proxy:
        url = broker.amqp_url(vhost=vhost).replace(f":{broker.port}", f":{proxy.port}")
        behind = bench_on(url)
        worker = behind.worker()
        handled: set[int] = set()
        was_unready = threading.Event()

        @worker.consumer("orders", stalled_after=1.0)
        def handle(order: dict) -> None:
            handled.add(order["id"])

        worker.start()
        bench.publisher.publish("orders", {"id": 1})
        behind.wait(lambda: handled == {1})
        silenced = proxy.cut("basic.deliver", how="silence")
        bench.publisher.publish_many("orders", [{"id": number} for number in range(2, 60)]).raise_for_failures()
        assert silenced.wait(5)

        def is_over() -> bool:
            if not worker.is_ready:
                was_unready.set()
            return len(handled) == 59

        behind.wait(is_over, "every message", timeout=20)
        behind.wait(lambda: worker.is_ready)
        assert was_unready.is_set()
        assert worker.stats().stalled == 1
        assert "does not answer the consumer of queue 'orders': its connection is opened again" in caplog.text
        behind.wait_empty(worker, "orders", "orders.dead")


def test_an_idle_consumer_and_a_busy_one_are_left_alone(bench):
    """No message, or no free handler: asked or not, nothing is changed."""
    worker = bench.worker()
    go_on = threading.Event()

    @worker.consumer("idle", stalled_after=0.2)
    def idle(order: dict) -> None: ...

    @worker.consumer("busy", concurrency=1, prefetch=1, stalled_after=0.2)
    def busy(order: dict) -> None:
        go_on.wait(30)

    worker.start()
    bench.publisher.publish_many("busy", [{"id": 1}, {"id": 2}]).raise_for_failures()
    bench.wait(lambda: worker.stats().in_progress == 1)
    assert not worker.wait(3.0)
    assert worker.is_ready
    assert worker.stats().stalled == 0
    go_on.set()
    bench.wait(lambda: worker.stats().handled == 2)
    assert worker.stats().consumers[0].last_error == worker.stats().consumers[1].last_error == ""
