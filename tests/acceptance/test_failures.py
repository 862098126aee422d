"""What keeps a command from the broker is one sentence with the cause, and exit code 4; machines get the same as JSON."""

from __future__ import annotations

import pytest

from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.rabbitmq import RabbitMQNode
from tests.acceptance.conftest import Run


def _cases(broker: RabbitMQNode) -> dict[str, tuple[str, str, str]]:
    port = ReservedPort()
    port.release()
    return {
        "password": (broker.amqp_url(password="hunter2secret"), "AuthenticationError", "user name or password"),
        "vhost": (broker.amqp_url(vhost="nowhere"), "VirtualHostNotFoundError", "add_vhost"),
        "port": (broker.amqp_url(port=port.number), "ConnectionFailedError", "is RabbitMQ running?"),
        "dns": ("amqp://guest:guest@no-such-host.invalid/", "ConnectionFailedError", "no-such-host.invalid"),
    }


@pytest.mark.parametrize("case", ["password", "vhost", "port", "dns"])
def test_no_connection_is_a_sentence_and_exit_code_4(inline: Run, broker: RabbitMQNode, case: str) -> None:
    """Wrong password, missing virtual host, closed port, unknown host name: each is told apart."""
    url, kind, told = _cases(broker)[case]
    machine = inline("queues", "orders", "--json", "--url", url, "--timeout", "1")
    assert machine.code == 4
    assert machine.json["error"]["type"] == kind
    assert told in machine.json["error"]["message"]
    assert "hunter2secret" not in machine.text


def test_people_get_one_line_without_the_password(rmqpool: Run, broker: RabbitMQNode) -> None:
    """The sentence stands on stderr, alone."""
    ended = rmqpool("publish", "orders", "x", "--url", broker.amqp_url(password="hunter2secret"))
    assert ended.code == 4
    assert "user name or password" in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert "hunter2secret" not in ended.text
