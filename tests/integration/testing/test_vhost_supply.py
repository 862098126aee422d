"""The vhosts that the tests of this project have are their own, and nothing of theirs stays."""

from __future__ import annotations

from vhost_supply import VhostSupply, sweep

from rmqpool import ConnectionPool, Queue
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from rmqpool.topology import expand


def _names(node: RabbitMQNode) -> set[str]:
    return set(node.query("rabbit_vhost:list_names()"))


def _declare(url: str, *names: str) -> None:
    with ConnectionPool(url) as pool:
        pool.declare_once(expand([Queue(name, dead_letter=None) for name in names]))


def test_no_vhost_is_given_twice_and_each_may_be_used(broker: RabbitMQNode) -> None:
    """More than one call makes; those that are given back are deleted with their queues."""
    supply = VhostSupply(broker)
    taken = [supply.take() for _ in range(10)]
    assert len(set(taken)) == 10
    for vhost in (taken[0], taken[-1]):
        _declare(broker.amqp_url(vhost=vhost), "orders")
        supply.give_back(vhost)
    kept = taken[1:-1]
    for _ in range(8):  # the next call comes with one of these
        supply.give_back(supply.take())
    wait_until(lambda: not {taken[0], taken[-1]} & _names(broker), "the end of what was given back", timeout=60)
    assert set(kept) <= _names(broker)
    for vhost in kept:
        broker.delete_vhost(vhost)


def test_queues_of_tests_that_have_ended_are_deleted(broker: RabbitMQNode, queue_name: str) -> None:
    """Those whose names begin with that of the test; a neighbour stays."""
    neighbour = f"neighbour-{queue_name}"
    _declare(broker.amqp_url(), queue_name, f"{queue_name}.more", neighbour)
    supply = VhostSupply(broker)
    supply.forget(queue_name)
    supply.take()

    def left() -> set[str]:
        return {row["name"] for row in broker.list_queues() if queue_name in row["name"]}

    wait_until(lambda: left() == {neighbour}, "the end of the test's queues", timeout=60)
    broker.delete_queue(neighbour)


def test_a_swept_node_has_no_queues_and_no_vhosts_but_the_default_one(private_broker: RabbitMQNode) -> None:
    """Classic and quorum queues, in any vhost."""
    private_broker.add_vhost("left")
    _declare(private_broker.amqp_url(vhost="left"), "orders")
    _declare(private_broker.amqp_url(), "orders", "mails")
    sweep(private_broker)
    assert _names(private_broker) == {"/"}
    assert private_broker.list_queues() == []
