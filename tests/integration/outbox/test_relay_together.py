"""Several relays: they share the lanes, or one stands by, and none keeps rows from the others."""

from __future__ import annotations

from rmqpool.outbox import Relay
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.relay_bench import Bench, MakeRelay


def test_two_relays_share_the_lanes(bench: Bench, start: MakeRelay) -> None:
    """Half each; when one leaves, the other has all."""
    first = start()
    wait_until(lambda: first.stats().lanes == 64, "all lanes", timeout=60)
    second = start()
    wait_until(lambda: (first.stats().lanes, second.stats().lanes) == (32, 32), "half of them each", timeout=60)
    assert first.stop()
    wait_until(lambda: second.stats().lanes == 64, "all lanes again", timeout=60)


def test_of_strict_relays_one_works_and_the_other_stands_by(bench: Bench, start: MakeRelay) -> None:
    """And takes over."""
    first = start(order="strict")
    wait_until(lambda: first.stats().lanes == 64, "all lanes", timeout=60)
    second = start(order="strict")
    bench.write(*range(100))
    assert bench.bodies(100) == list(range(100))
    assert second.stats().read == 0
    assert first.stop()
    bench.write(*range(100))
    assert bench.bodies(100) == list(range(100))
    assert second.stats().read == 100


def test_a_relay_without_a_broker_keeps_no_lanes_from_the_others(bench: Bench, start: MakeRelay) -> None:
    """It says so, counts as none, and takes part as soon as it can publish."""
    healthy = start()
    wait_until(lambda: healthy.stats().lanes == 64, "all lanes", timeout=60)
    with Relay("amqp://guest:wrong@127.0.0.1:1/", bench.database, name="lonely") as lonely:
        wait_until(lambda: "broker" in lonely.stats().trouble, "the trouble", timeout=60)
        for number in range(100):
            bench.write(number, key=f"key-{number}")
        assert len(bench.take(100)) == 100
        assert lonely.stats().lanes == 0
        assert healthy.stats().lanes == 64


def test_relays_of_two_orders_say_that_they_keep_each_other_out(bench: Bench, start: MakeRelay) -> None:
    """Strict order has all lanes or none: it holds none while another one has some."""
    by_key = start()
    wait_until(lambda: by_key.stats().lanes == 64, "all lanes", timeout=60)
    strict = start(order="strict")
    wait_until(lambda: "strict order needs all lanes" in strict.stats().trouble, "the trouble", timeout=60)
    assert strict.stats().lanes == 0


def test_several_relays_keep_to_what_they_may_have_in_hand(bench: Bench, start: MakeRelay) -> None:
    """However the rows lie in the lanes."""
    with bench.connection.transaction():
        for number in range(2000):
            bench.outbox.publish(bench.connection, bench.queue, number, key=f"key-{number}")
    relays = [start(batch_size=10, batches_in_flight=2) for _ in range(2)]
    most = 0
    while bench.count("outbox"):
        most = max(most, *(relay.stats().in_hand for relay in relays))
    assert 0 < most <= 20
