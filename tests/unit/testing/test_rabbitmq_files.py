"""What a private node reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmqpool.testing.rabbitmq_files import NodePlaces, configuration, environment, starting_at_once


@pytest.mark.parametrize("management_port", [None, 23456])
def test_a_private_nodes_management_api_listens_for_this_machine_only(management_port: int | None) -> None:
    """Not at 15672 of all interfaces, where the next node would find it taken; what the caller says wins."""
    places = NodePlaces("n@localhost", 1, None, management_port, 2, Path("/nowhere"))
    written = configuration(places, "tests", "secret", {})
    assert ("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = 23456\n" in written) == (management_port is not None)
    told = configuration(places, "tests", "secret", {"management.tcp.ip": "::1"})
    assert "management.tcp.ip = ::1\n" in told


def test_a_node_has_its_name_from_the_beginning() -> None:
    """RabbitMQ would run a second Erlang first to name it. Its port and `net_ticktime` are read that early too; tools,
    which are nodes besides it, get nothing of it."""
    places = NodePlaces("n@localhost", 1, None, None, 2, Path("/nowhere"))
    arguments = starting_at_once(places, "7")["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    for part in ("-sname n@localhost ", "inet_dist_listen_min 2 ", "inet_dist_listen_max 2 ", "net_ticktime 7"):
        assert part in f"{arguments} "
    assert "net_ticktime" not in starting_at_once(places, None)["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    assert not starting_at_once(places, None).keys() & environment(places, "/bin", {}).keys()
