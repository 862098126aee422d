"""What a private node reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmqpool.testing.rabbitmq_files import NodePlaces, configuration


@pytest.mark.parametrize("management_port", [None, 23456])
def test_a_private_nodes_management_api_listens_for_this_machine_only(management_port: int | None) -> None:
    """Not at 15672 of all interfaces, where the next node would find it taken; what the caller says wins."""
    places = NodePlaces("n@localhost", 1, None, management_port, 2, Path("/nowhere"))
    written = configuration(places, "tests", "secret", {})
    assert ("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = 23456\n" in written) == (management_port is not None)
    told = configuration(places, "tests", "secret", {"management.tcp.ip": "::1"})
    assert "management.tcp.ip = ::1\n" in told
