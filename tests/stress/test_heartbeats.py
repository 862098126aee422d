"""A minute of full load in both directions, plain and over TLS, with a heartbeat of 4 s: no connection is given up.

``RMQPOOL_WIRE=pika make soak`` runs the same through pika's own path.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from faults.harness import open_pool
from faults.tally import keep_busy
from faults.test_tls import Authority, accepted, authority, settings_of, tls_broker

from rmqpool.testing.rabbitmq_node import RabbitMQNode

__all__ = ["authority", "tls_broker"]  # fixtures

SECONDS = float(os.environ.get("RMQPOOL_SOAK_BUSY_SECONDS", "60"))

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS * 3 + 120)]


def test_a_busy_connection_lives(broker: RabbitMQNode, vhost: str, queue_name: str) -> None:
    """Plain TCP."""
    with open_pool(f"{broker.amqp_url(vhost=vhost)}?heartbeat=4") as pool:
        print(keep_busy(pool, queue_name, SECONDS))


def test_a_busy_tls_connection_lives(tls_broker: RabbitMQNode, authority: Authority, queue_name: str) -> None:
    """The same path, the same large reads."""
    with open_pool(replace(settings_of(tls_broker, accepted(authority)), heartbeat=4)) as pool:
        print(keep_busy(pool, queue_name, SECONDS))
