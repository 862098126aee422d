"""Versions and limits."""

from __future__ import annotations

import pytest

from rmqpool.cli.diagnosis.agreement import check_limits, check_version, version_of
from rmqpool.cli.diagnosis.connecting import Negotiated
from rmqpool.settings import ConnectionSettings


@pytest.mark.parametrize(
    ("broker", "state"),
    [
        ("RabbitMQ 3.8.2", "problem"),
        ("RabbitMQ 3.10.8", "warning"),
        ("RabbitMQ 3.13.7", "warning"),
        ("RabbitMQ 4.1.0", "ok"),
        ("RabbitMQ 4.2.0-rc.1", "ok"),
        ("LavinMQ 2.0", "warning"),
        ("RabbitMQ", "warning"),
    ],
)
def test_the_version_decides(broker: str, state: str) -> None:
    """Before 3.10 the default topology is not safe; 3.x works; 4 has everything."""
    assert check_version(broker).state == state


def test_versions_are_numbers() -> None:
    """3.9 is older than 3.10."""
    assert version_of("RabbitMQ 3.9.29") < version_of("RabbitMQ 3.10.0")
    assert version_of("") == ()


@pytest.mark.parametrize(
    ("agreed", "states"),
    [
        (Negotiated(15, 131072, 2047), ["ok", "ok", "ok"]),
        (Negotiated(0, 131072, 2047), ["problem", "ok", "ok"]),
        (Negotiated(2, 4096, 8), ["warning", "warning", "problem"]),
        (Negotiated(600, 131072, 32), ["warning", "ok", "ok"]),
    ],
)
def test_limits_out_of_range_are_told(agreed: Negotiated, states: list[str]) -> None:
    """Heartbeat, frame_max, channel_max."""
    assert [finding.state for finding in check_limits(agreed, ConnectionSettings())] == states
