"""A private RabbitMQ node does what a test tells it, and leaves nothing behind."""

import pika
import pytest

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.rabbitmq import RabbitMQNode


def test_starts_and_is_ready(broker: RabbitMQNode) -> None:
    """A started node takes connections and tells its version."""
    assert broker.is_running
    assert broker.version() >= (3, 10)
    pika.BlockingConnection(pika.URLParameters(broker.amqp_url())).close()


def test_vhosts_are_separate(broker: RabbitMQNode, vhost: str, queue_name: str) -> None:
    """A vhost of a test's own holds its queues and is gone afterwards."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url(vhost=vhost)))
    connection.channel().queue_declare(queue_name, durable=True)
    connection.close()
    assert [queue["name"] for queue in broker.list_queues(vhost)] == [queue_name]
    assert queue_name not in [queue["name"] for queue in broker.list_queues("/")]


def test_refused_commands_say_why(broker: RabbitMQNode) -> None:
    """What the broker refuses is an error with its reason."""
    with pytest.raises(ServicesError, match="no_such_user"):
        broker.delete_user("nobody")
