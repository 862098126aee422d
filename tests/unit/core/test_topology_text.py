"""An export can be read again, and means the same."""

from __future__ import annotations

import json

import pytest

from rmqpool.core.topology_text import as_definitions, as_python, from_definitions, from_json
from rmqpool.errors import ConfigurationError
from rmqpool.topology import Binding, Exchange, Queue, Topology, expand

TOPOLOGY: list[Topology] = [
    *expand([Exchange("events", type="topic", alternate_exchange="other"), Queue("orders", message_ttl=1.5)]),
    Queue("old", type="classic", dead_letter=None, max_priority=5, durable=False),
    Queue(
        "foreign", dead_letter=None, unstated=("x-delivery-limit",), arguments={"x-queue-leader-locator": "balanced"}
    ),
    Binding("events", "orders", "order.*", arguments={"note": 'with "quotes"'}),
]


def test_json_is_read_as_it_was_written() -> None:
    """The values are equal."""
    assert from_json(json.dumps(as_definitions(TOPOLOGY)), "/") == TOPOLOGY


def test_python_code_makes_the_same_values() -> None:
    """It runs; only what is not a default is said."""
    namespace: dict[str, object] = {}
    code = as_python(TOPOLOGY)
    exec(code, namespace)
    assert namespace["TOPOLOGY"] == TOPOLOGY
    assert "    Queue('orders', message_ttl=1.5),\n" in code
    assert as_python([]) == "TOPOLOGY = [\n]\n"


def test_of_rabbitmqs_own_definitions_one_virtual_host_is_read() -> None:
    """Without the broker's own exchanges, and without users and the like."""
    told = {
        "users": [{"name": "guest"}],
        "exchanges": [
            {"name": "amq.topic", "vhost": "/", "type": "topic"},
            {"name": "e", "vhost": "/", "type": "fanout"},
        ],
        "queues": [{"name": "q", "vhost": "/", "durable": True, "arguments": {}}, {"name": "q", "vhost": "other"}],
        "bindings": [{"source": "e", "vhost": "/", "destination": "q", "routing_key": "", "arguments": {}}],
    }
    assert from_json(json.dumps(told), "/") == [
        Exchange("e", type="fanout"),
        Queue("q", type="classic", dead_letter=None),
        Binding("e", "q"),
    ]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"queues": 7}', '{"queues": [{}]}', '{"queues": [{"name": 7}]}'])
def test_what_is_no_topology_is_one_sentence(text: str) -> None:
    """Never a KeyError."""
    with pytest.raises(ConfigurationError):
        from_json(text, "/")


def test_what_no_value_can_say_is_left_out_and_told() -> None:
    """The rest is there."""
    told = {"queues": [{"name": "q", "arguments": {"x-queue-type": "new"}}, {"name": "p", "arguments": {}}]}
    values, left_out = from_definitions(told, "/")
    assert [value.name for value in values if isinstance(value, Queue)] == ["p"]
    assert len(left_out) == 1
    assert "'q'" in left_out[0]
