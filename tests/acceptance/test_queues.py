"""``rmqpool queues``: over AMQP by name, over the management API for all."""

from __future__ import annotations

from rmqpool import Publisher, Queue
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import EquippedBroker, Run


def test_named_queues_are_told_with_depth_and_consumers(rmqpool: Run, vhost_url: str) -> None:
    """Three messages are ready; a queue that does not exist is a row, and exit code 1."""
    with Publisher(vhost_url, declare=[Queue("orders")]) as publisher:
        for number in range(3):
            publisher.publish("orders", {"id": number})
    ended = rmqpool("queues", "orders", "nope", "--json", "--url", vhost_url)
    rows = {row["name"]: row for row in ended.json["queues"]}
    assert ended.code == 1
    assert (rows["orders"]["ready"], rows["orders"]["consumers"]) == (3, 0)
    assert rows["nope"]["state"] == "missing"
    text = rmqpool("queues", "orders", "--url", vhost_url)
    assert text.code == 0
    assert text.out.splitlines()[1].split("\t")[:4] == ["orders", "-", "-", "3"]


def test_another_virtual_host_can_be_named(inline: Run, broker: RabbitMQNode, vhost: str) -> None:
    """--vhost replaces the URL's."""
    ended = inline("queues", "nope", "--json", "--url", broker.amqp_url(), "--vhost", vhost)
    assert ended.json["vhost"] == vhost


def test_without_names_the_management_api_lists_all(inline: Run, equipped_broker: EquippedBroker) -> None:
    """Every queue of the virtual host is there with its type."""
    node = equipped_broker.node
    node.add_vhost("shop")
    with Publisher(node.amqp_url(vhost="shop"), declare=[Queue("orders")]) as publisher:
        publisher.publish("orders", {"id": 1})

    def listed() -> bool:
        ended = inline(
            "queues", "--json", "--url", node.amqp_url(vhost="shop"), "--management-url", equipped_broker.management_url
        )
        rows = {row["name"]: row for row in ended.json["queues"]}
        return set(rows) == {"orders", "orders.dead"} and rows["orders"]["messages"] == 1

    wait_until(listed, "the statistics of the new queue", timeout=15)


def test_a_management_api_that_is_not_there_is_a_sentence_with_three_ways_out(rmqpool: Run, vhost_url: str) -> None:
    """Exit code 4; the plugin, the option and the names are named."""
    port = ReservedPort()
    ended = rmqpool("queues", "--url", vhost_url, "--management-url", f"http://127.0.0.1:{port.number}")
    port.release()
    assert ended.code == 4
    assert all(word in ended.err for word in ("rabbitmq_management", "--management-url", "rmqpool queues NAME"))
    assert "Traceback" not in ended.err


def test_a_management_api_that_refuses_the_user_says_so(inline: Run, equipped_broker: EquippedBroker) -> None:
    """A wrong password is exit code 4, and never printed."""
    base = equipped_broker.management_url.replace("//", "//tests:hunter2secret@")
    ended = inline("queues", "--json", "--url", equipped_broker.node.amqp_url(), "--management-url", base)
    assert ended.code == 4
    assert ended.json["error"]["status"] == 401
    assert "hunter2secret" not in ended.text


def test_what_is_no_management_api_is_told(inline: Run, broker: RabbitMQNode) -> None:
    """Pointing at the AMQP port is a sentence, not a traceback."""
    ended = inline("queues", "--url", broker.amqp_url(), "--management-url", f"http://127.0.0.1:{broker.port}")
    assert ended.code in (4, 6)
    assert "--management-url" in ended.err
    assert "Traceback" not in ended.err
