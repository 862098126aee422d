"""Rows 1 and 2 of the fault matrix: the broker dies, restarts, or throws everybody out."""

from __future__ import annotations

from faults.harness import Collector, Events, Load, drain, judge, keep_queues, open_pool, publish_recorded, until
from rmqpool import Publisher, Queue
from rmqpool.amqp.link import LinkEvent
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.rabbitmq_node import RabbitMQNode


def test_nothing_is_lost_when_the_broker_is_killed_under_load(private_broker: RabbitMQNode, queue_name: str) -> None:
    """Four threads publish and one consumer consumes while the broker gets kill -9 and starts again: all confirmed, none lost."""
    checker, events = TotalQueueChecker(), Events()
    queue = Queue(queue_name)
    with open_pool(private_broker.amqp_url(), heartbeat=5, on_event=events) as pool:
        publisher = Publisher(pool, declare=[queue])
        with Collector(pool, queue, checker) as collector, Load(publisher, queue_name, checker) as load:
            load.wait_for_confirmed(300)
            collector.wait_for(100)
            keep_queues(private_broker)
            private_broker.kill()
            events.wait_for(LinkEvent.CONNECTION_LOST, count=3)
            private_broker.start()
            load.wait_for_confirmed(300)
            collector.wait_for(300)
            load.stop()
    drain(private_broker.amqp_url(), queue_name, checker)
    verdict = judge(checker)
    assert verdict.confirmed == verdict.attempted, "the broker was back long before the deadlines"
    assert max(outcome.attempts for outcome in load.outcomes) >= 2, "nothing was on its way when the broker died"


def test_publishes_end_by_their_deadline_while_the_broker_is_dead(
    private_broker: RabbitMQNode, queue_name: str
) -> None:
    """A publish without a broker ends as not sent, by its deadline, and says that nothing listens there."""
    checker, events = TotalQueueChecker(), Events()
    with open_pool(private_broker.amqp_url(), on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        assert publish_recorded(publisher, queue_name, "before", checker).attempts == 1
        keep_queues(private_broker)
        private_broker.kill()
        events.wait_for(LinkEvent.CONNECTION_LOST, role="publish")
        error = publish_recorded(publisher, queue_name, "dead", checker, timeout=1.5)
        assert (error.outcome, error.attempts) == ("not_sent", 0)
        assert "is not ready" in str(error)
        assert "nothing listens there" in str(error)
        private_broker.start()
        assert publish_recorded(publisher, queue_name, "after", checker).outcome == "confirmed"
    drain(private_broker.amqp_url(), queue_name, checker)
    verdict = judge(checker)
    assert (verdict.confirmed, verdict.not_sent, verdict.received) == (2, 1, 2)


def test_topology_and_consumers_are_restored_after_a_restart(private_broker: RabbitMQNode, queue_name: str) -> None:
    """A queue that does not survive a restart is declared again on reconnect, and its consumer is subscribed again."""
    checker, events = TotalQueueChecker(), Events()
    queue = Queue(queue_name, type="classic", durable=False, dead_letter=False)
    with open_pool(private_broker.amqp_url(), on_event=events) as pool:
        publisher = Publisher(pool, declare=[queue])
        with Collector(pool, queue, checker) as collector:
            assert publish_recorded(publisher, queue_name, "before", checker).outcome == "confirmed"
            until(lambda: collector.received == 1, "the first delivery")
            private_broker.restart()
            assert publish_recorded(publisher, queue_name, "after", checker).outcome == "confirmed"
            until(lambda: collector.received >= 2, "the delivery after the restart")
            assert collector.consumer.status().subscriptions == 2
        lost = events.wait_for(LinkEvent.CONNECTION_LOST, role="publish")
        assert "CONNECTION_FORCED" in lost[0].sentence, "the sentence has the broker's own reason"
        assert pool.stats().reconnects >= 2
    judge(checker)


def test_a_mass_disconnect_is_survived_under_load(private_broker: RabbitMQNode, queue_name: str) -> None:
    """Three times the broker closes every connection: all messages are confirmed and received."""
    checker, events = TotalQueueChecker(), Events()
    queue = Queue(queue_name)
    with open_pool(private_broker.amqp_url(), on_event=events) as pool:
        publisher = Publisher(pool, declare=[queue])
        with Collector(pool, queue, checker) as collector, Load(publisher, queue_name, checker) as load:
            for round_number in range(1, 4):
                load.wait_for_confirmed(100)
                private_broker.close_all_connections()
                events.wait_for(LinkEvent.CONNECTION_LOST, count=round_number, role="consume")
                collector.wait_for(100)
            load.stop()
            assert collector.consumer.status().subscriptions == 4
    drain(private_broker.amqp_url(), queue_name, checker)
    verdict = judge(checker)
    assert verdict.confirmed == verdict.attempted


def test_connections_come_back_at_different_times(private_broker: RabbitMQNode) -> None:
    """Eight connections closed in one moment are spread by jitter over the first pause, not opened all at once."""
    events = Events()
    url = f"{private_broker.amqp_url()}?reconnect_delay=1"
    with open_pool(url, publish_connections=8, on_event=events) as pool:
        pool.open()
        private_broker.close_all_connections()
        lost = events.wait_for(LinkEvent.CONNECTION_LOST, count=8)
        again = events.wait_for(LinkEvent.CONNECTED, since=lost[0].at, count=8)
        pauses = [back.at - gone.at for gone in lost for back in again if back.link == gone.link]
        assert len(pauses) == 8
        assert max(pauses) - min(pauses) > 0.1, "no jitter"
        assert max(pauses) < 2.0, "longer than the first pause"
