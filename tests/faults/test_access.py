"""Row 18 of the fault matrix: the broker does not let us in, or no longer. At the start that fails at once; while running
it is tried again, far apart, and never in a hot loop."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from faults.harness import Events, Load, Waiter, drain, judge, open_pool, publish_recorded, until
from faults.tally import Tally
from rmqpool import (
    AuthenticationError,
    Confirmation,
    ConnectionSettings,
    Consumer,
    Delivery,
    Exchange,
    NotSentError,
    PublishAccessRefusedError,
    Publisher,
    Queue,
    VirtualHostAccessError,
    VirtualHostNotFoundError,
    parse_url,
)
from rmqpool.amqp.link import LinkEvent, LinkState
from rmqpool.errors import ConnectionFailedError
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode

PASSWORD = "the-users-own-password"
REFUSED_DELAY = 1.0  # seconds between attempts that are refused; jitter makes it half of that at the least


@pytest.fixture
def user(broker: RabbitMQNode, vhost: str) -> Iterator[str]:
    """A user of the test's own, who may do everything in the test's vhost."""
    name = f"user-{uuid.uuid4().hex[:8]}"
    broker.add_user(name, PASSWORD, vhosts=(vhost,))
    yield name
    broker.delete_user(name)


@pytest.fixture
def proxy(broker: RabbitMQNode) -> Iterator[FaultProxy]:
    """Counts the attempts."""
    with FaultProxy((broker.host, broker.port)) as fault_proxy:
        yield fault_proxy


@pytest.fixture
def settings(broker: RabbitMQNode, proxy: FaultProxy, vhost: str, user: str) -> ConnectionSettings:
    """How that user connects through the proxy."""
    url = broker.amqp_url(user=user, password=PASSWORD, vhost=vhost, port=proxy.port)
    return parse_url(url, refused_delay=REFUSED_DELAY, connection_name=user)


def throw_out(broker: RabbitMQNode, user: str) -> None:
    """Close the user's connections: what an administrator does after taking the rights away."""
    for connection in broker.list_connections():
        if connection["user"] == user:
            broker.close_connection(connection["name"])


def acknowledge(checker: TotalQueueChecker) -> Callable[[Delivery], None]:
    """An on_delivery that records and acknowledges."""

    def take(delivery: Delivery) -> None:
        checker.record_delivery(delivery.message_id or "", delivery.redelivered)
        delivery.ack()

    return take


# At the start


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"password": "wrong"}, AuthenticationError, "wrong user name or password"),
        ({"user": "nobody"}, AuthenticationError, "refused user 'nobody'"),
        ({"vhost": "nowhere"}, VirtualHostNotFoundError, "the virtual host 'nowhere' does not exist"),
        ({"vhost": "/"}, VirtualHostAccessError, "has no permission for the virtual host '/'"),
    ],
    ids=["password", "user", "vhost", "permission"],
)
def test_refused_at_the_start_fails_at_once_after_one_attempt(
    broker: RabbitMQNode,
    proxy: FaultProxy,
    vhost: str,
    user: str,
    change: dict[str, Any],
    kind: type[ConnectionFailedError],
    sentence: str,
) -> None:
    """open, publish and channel each fail at once with one sentence that names the cause; each connection tried once."""
    where = {"user": user, "password": PASSWORD, "vhost": vhost, **change}
    with open_pool(broker.amqp_url(port=proxy.port, **where), timeout=20) as pool:
        started = time.monotonic()
        with pytest.raises(kind, match=sentence) as caught:
            pool.open(timeout=20)
        with pytest.raises(NotSentError, match=sentence) as not_sent:
            Publisher(pool).publish("anything", b"")
        assert time.monotonic() - started < 8.0
        assert isinstance(not_sent.value.__cause__, kind)
        assert proxy.accepted == 1, "the publish connection was tried once, whatever asked for it"
        with pytest.raises(kind, match=sentence):
            pool.channel(timeout=20)
        assert proxy.accepted == 2, "and the lease connection once"
        assert time.monotonic() - started < 12.0
    assert "\n" not in str(caught.value)
    assert not any(password in str(caught.value) for password in (PASSWORD, "wrong@"))


def test_refused_consumer_says_why(broker: RabbitMQNode, vhost: str, user: str) -> None:
    """A consumer that the broker does not let in raises the reason when one waits for it."""
    url = broker.amqp_url(user=user, password="wrong", vhost=vhost)
    with (
        open_pool(url) as pool,
        Consumer(pool, "anything", lambda delivery: None) as consumer,
        pytest.raises(AuthenticationError),
    ):
        consumer.wait_ready(20.0)


# While running


def test_write_permission_taken_away_names_the_exchange(
    broker: RabbitMQNode, settings: ConnectionSettings, vhost: str, user: str, queue_name: str
) -> None:
    """Publishes that may no longer be written fail with 403 and the exchange's name; others go on; so do they once allowed."""
    with open_pool(settings, timeout=15) as pool:
        tally = Tally(Publisher(pool, declare=[Queue(queue_name), Exchange("audit", type="fanout")]))
        assert isinstance(tally.publish(queue_name), Confirmation)
        broker.set_permissions(user, vhost, (".*", "amq.default", ".*"))
        for _ in range(10):
            tally.submit("", exchange="audit", mandatory=False)
            tally.submit(queue_name)

        outcomes = tally.outcomes()

        refused = [outcome for outcome in outcomes if isinstance(outcome, PublishAccessRefusedError)]
        assert len(refused) == 10
        assert all("exchange 'audit'" in str(error) and "write permission" in str(error) for error in refused)
        assert all(isinstance(outcome, Confirmation) for outcome in outcomes[1::2])
        broker.set_permissions(user, vhost, (".*", ".*", ".*"))
        assert isinstance(tally.publisher.publish_to("audit", "", b"", mandatory=False), Confirmation)
        assert pool.stats().publish[0].epoch == 1
        verdict = tally.verdict(broker.amqp_url(vhost=vhost), queue_name)
        assert (verdict.confirmed, verdict.nacked, verdict.received) == (11, 10, 11)


def test_user_deleted_while_publishing_is_tried_slowly_and_recovers(
    broker: RabbitMQNode, proxy: FaultProxy, settings: ConnectionSettings, vhost: str, user: str, queue_name: str
) -> None:
    """A user who is deleted: publishes end by their deadline naming him; few attempts; back again, all goes on."""
    checker, events = TotalQueueChecker(), Events()
    with open_pool(settings, on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        with Load(publisher, queue_name, checker, threads=2, timeout=30) as load:
            load.wait_for_confirmed(50)
            broker.delete_user(user)  # the broker closes his connections by itself
            refusals = events.wait_for(LinkEvent.CONNECT_FAILED, role="publish")
            assert f"refused user '{user}'" in refusals[0].sentence
            before, started = proxy.accepted, time.monotonic()

            error = publish_recorded(publisher, queue_name, "while-deleted", checker, timeout=3.0)

            most = 2 * ((time.monotonic() - started) / (REFUSED_DELAY / 2) + 2)  # publish and lease connection
            assert proxy.accepted - before <= most, "the broker was hammered"
            assert isinstance(error, NotSentError)
            assert f"refused user '{user}'" in str(error)
            broker.add_user(user, PASSWORD, vhosts=(vhost,))
            load.wait_for_confirmed(50)
    assert all(isinstance(outcome, Confirmation) for outcome in load.outcomes), "they had time until he was back"
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    judge(checker)


def test_permissions_cleared_while_running_keep_everybody_waiting_in_peace(
    broker: RabbitMQNode, proxy: FaultProxy, settings: ConnectionSettings, vhost: str, user: str, queue_name: str
) -> None:
    """Shut out of the vhost: publish and channel end by their deadlines with the cause; a consumer comes back by itself."""
    events = Events()
    with open_pool(settings, on_event=events) as pool:
        tally = Tally(Publisher(pool, declare=[Queue(queue_name)], timeout=30))
        tally.publish(queue_name)
        with Consumer(pool, queue_name, acknowledge(tally.checker)) as consumer:
            consumer.wait_ready()
            broker.clear_permissions(user, vhost)
            throw_out(broker, user)
            events.wait_for(LinkEvent.CONNECT_FAILED, count=3)
            before, started = proxy.accepted, time.monotonic()
            lease = Waiter(lambda: pool.channel(timeout=2.0))
            waiting = tally.submit(queue_name)

            outcome = tally.submit(queue_name, timeout=2.0).outcome()

            assert isinstance(outcome, NotSentError)
            assert "has no permission for the virtual host" in str(outcome)
            error = lease.wait(6.0).error
            assert "has no permission for the virtual host" in str(error)
            assert isinstance(error, TimeoutError)
            most = 3 * ((time.monotonic() - started) / (REFUSED_DELAY / 2) + 2)
            assert proxy.accepted - before <= most, "the broker was hammered"
            broker.set_permissions(user, vhost, (".*", ".*", ".*"))
            assert isinstance(waiting.outcome(), Confirmation)
            consumer.wait_ready(10.0)
        verdict = tally.verdict(broker.amqp_url(vhost=vhost), queue_name)
        assert (verdict.confirmed, verdict.not_sent, verdict.received) == (2, 1, 2)


def test_password_changed_while_running_is_no_reason_to_stop(
    broker: RabbitMQNode, settings: ConnectionSettings, vhost: str, user: str, queue_name: str
) -> None:
    """A changed password leaves open connections alone: only a reconnect is refused, and says so."""
    events = Events()
    with open_pool(settings, on_event=events) as pool:
        tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
        tally.publish(queue_name)
        broker.change_password(user, "another-password")
        assert isinstance(tally.publish(queue_name), Confirmation)
        throw_out(broker, user)
        events.wait_for(LinkEvent.CONNECT_FAILED, role="publish")
        with pytest.raises(NotSentError, match="wrong user name or password"):
            tally.publisher.publish(queue_name, b"", timeout=0.3)
        broker.change_password(user, PASSWORD)
        assert isinstance(tally.publish(queue_name, timeout=20), Confirmation)
        verdict = tally.verdict(broker.amqp_url(vhost=vhost), queue_name)
        assert verdict.received == 3


def test_a_pool_that_was_never_let_in_recovers_when_it_may(
    broker: RabbitMQNode, settings: ConnectionSettings, vhost: str, user: str, queue_name: str
) -> None:
    """After a refusal at the start the pool goes on trying, far apart: once the user may enter, it works."""
    broker.clear_permissions(user, vhost)
    with open_pool(settings) as pool:
        with pytest.raises(VirtualHostAccessError):
            pool.open()
        broker.set_permissions(user, vhost, (".*", ".*", ".*"))
        until(lambda: pool.stats().publish[0].state is LinkState.READY, "the next attempt", timeout=REFUSED_DELAY + 5)
        assert Publisher(pool, declare=[Queue(queue_name)]).publish(queue_name, b"").attempts == 1
