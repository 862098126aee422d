"""What prevents a start is said at once; a broker that is not there yet is waited for."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rmqpool import (
    AuthenticationError,
    ConfigurationError,
    ConnectionPool,
    NotFoundError,
    PoolTimeoutError,
    Queue,
    TopologyMismatchError,
    VirtualHostNotFoundError,
    Worker,
)
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.waiting import wait_until


def with_handler(worker: Worker) -> Worker:
    """A worker with a consumer of orders."""

    @worker.consumer("orders")
    def handle(order: dict) -> None: ...

    return worker


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nothing listens on."""
    port = ReservedPort()
    try:
        yield port.number
    finally:
        port.release()


def mine() -> list[str]:
    """The threads of the worker under test that are alive."""
    return [thread.name for thread in threading.enumerate() if "tested" in thread.name]


def test_other_arguments_end_the_start(bench):
    """The difference is named, nothing is changed, nothing runs."""
    bench.pool.declare([Queue("orders", delivery_limit=5)])
    worker = with_handler(bench.worker())
    with pytest.raises(TopologyMismatchError, match="x-delivery-limit") as caught:
        worker.start()
    assert "x-delivery-limit" in caught.value.differences
    assert worker.stats().state == "stopped"
    assert mine() == []


def test_run_raises_the_same(bench):
    """For the command line."""
    bench.pool.declare([Queue("orders", delivery_limit=5)])
    with pytest.raises(TopologyMismatchError):
        with_handler(bench.worker()).run()


def test_a_wrong_password_ends_the_start(broker):
    """At once, not after the timeout."""
    worker = with_handler(Worker("tested", broker.amqp_url(password="wrong")))
    with pytest.raises(AuthenticationError):
        worker.start(timeout=30)
    with pytest.raises(AuthenticationError):
        worker.run()


def test_a_missing_vhost_ends_the_start(broker):
    """Named."""
    with pytest.raises(VirtualHostNotFoundError, match="nowhere"):
        with_handler(Worker("tested", broker.amqp_url(vhost="nowhere"))).start(timeout=30)


def test_an_absent_broker_ends_start_after_its_timeout(seconds):
    """Nothing is left running."""
    with reserved_port() as port:
        worker = with_handler(Worker("tested", f"amqp://guest:guest@127.0.0.1:{port}/"))
        with pytest.raises(PoolTimeoutError):
            worker.start(timeout=0.5)
    assert seconds() < 5
    assert mine() == []


def test_run_waits_for_an_absent_broker(bench_on, private_broker, caplog):
    """A worker is a daemon: it says that it waits, and begins when the broker is there."""
    private_broker.add_vhost("absent")
    bench = bench_on(private_broker.amqp_url(vhost="absent"))
    worker = with_handler(bench.worker())
    private_broker.stop()
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(worker.run()))
    thread.start()
    bench.wait(lambda: "waits for the broker" in caplog.text, timeout=10)
    private_broker.start()
    bench.wait(lambda: worker.is_ready)
    worker.stop()
    thread.join(10)
    assert codes == [0]


def test_a_broker_that_flaps_at_the_start_is_waited_for(bench_on, broker, vhost, caplog, monkeypatch):
    """Each connection dies over the declaration, until one does not."""
    monkeypatch.setattr("rmqpool.worker.runner._DECLARE_TIMEOUT", 1.0)
    monkeypatch.setattr("rmqpool.worker.runner._SILENCE", 0.0)
    with FaultProxy((broker.host, broker.port)) as proxy:
        for nth in range(1, 200):
            proxy.cut("queue.declare", nth=nth, direction="to_broker")
        bench = bench_on(broker.amqp_url(vhost=vhost, host="127.0.0.1", port=proxy.port))
        worker = with_handler(bench.worker())
        thread = threading.Thread(target=worker.run)
        thread.start()
        bench.wait(lambda: re.search(r"waits for the broker: connection [^;\n]* was lost", caplog.text), timeout=20)
        proxy.heal()
        bench.wait(lambda: worker.is_ready)
        worker.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_a_worker_that_waits_for_the_broker_can_be_stopped(seconds):
    """Without a broker."""
    with reserved_port() as port:
        worker = with_handler(Worker("tested", f"amqp://guest:guest@127.0.0.1:{port}/"))
        thread = threading.Thread(target=worker.run)
        thread.start()
        wait_until(lambda: worker.stats().state == "starting", "the start", timeout=5)
        assert worker.stop(0)
        thread.join(5)
    assert seconds() < 5
    assert mine() == []


def test_a_worker_runs_once_at_a_time(bench):
    """And again after it stopped."""
    worker = with_handler(bench.worker())
    with worker, pytest.raises(ConfigurationError, match="runs already"):
        worker.start()
    with worker:
        assert worker.is_ready
    assert mine() == []


def test_a_shared_pool_stays_open(bench):
    """Whoever made it closes it."""
    with ConnectionPool(bench.url) as pool:
        worker = with_handler(Worker("tested", pool))
        worker.start()
        bench.publisher.publish("orders", {"id": 1})
        bench.wait(lambda: worker.stats().handled == 1)
        worker.stop()
        assert not pool.closed
        with pool.channel() as channel:
            assert channel.queue_declare("orders", passive=True).consumer_count == 0


def test_the_connections_name_says_which_worker_it_is(bench, broker):
    """In the broker's list."""
    worker = with_handler(bench.worker("billing"))
    worker.start()
    names = [str(connection) for connection in broker.list_connections()]
    assert any("rmqpool worker billing@" in name for name in names)


def test_a_passive_queue_is_consumed_whatever_it_is(bench):
    """It stays as another client declared it; one that is not there ends the start with NotFoundError."""
    bench.pool.declare_once([Queue("theirs", type="classic", dead_letter=None, max_priority=3)])
    worker, absent = bench.worker(), bench.worker("absent")
    worker.consumer(Queue("theirs", passive=True))(lambda body: None)
    absent.consumer(Queue("nobodys", passive=True))(lambda body: None)
    worker.start()
    bench.publisher.publish("theirs", {})
    bench.wait(lambda: worker.stats().handled == 1)
    with pytest.raises(NotFoundError, match="nobodys"):
        absent.start()
