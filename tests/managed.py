"""A node with plugins, the management API among them, and quick statistics, for tests of what AMQP cannot tell."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rmqpool.cli.management import ManagementApi
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.services import private_rabbitmq
from rmqpool.urls import parse_url

__all__ = ["FIGURES_AGE", "ManagedNode", "managed_node"]

FIGURES_AGE = 0.4  # seconds: an interval of statistics or a tick of quorum queues (200 ms), and a busy machine


@dataclass(frozen=True)
class ManagedNode:
    """The node, and where its API is."""

    node: RabbitMQNode
    management_url: str

    @contextmanager
    def vhost(self) -> Iterator[str]:
        """The URL of a vhost that lasts as long as the block."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.node.add_vhost(name)
        yield self.node.amqp_url(vhost=name)
        self.node.delete_vhost(name)

    def api(self, url: str) -> ManagementApi:
        """The API of the virtual host in ``url``."""
        return ManagementApi(parse_url(url), self.management_url)


@contextmanager
def managed_node() -> Iterator[ManagedNode]:
    """Started, and closed at the end of the block; figures are at most FIGURES_AGE seconds old."""
    config = {
        "collect_statistics_interval": "100",
        # The API gathers what it tells at the shortest of these intervals, in seconds.
        **{f"management.sample_retention_policies.{kind}.minute": "1" for kind in ("global", "basic", "detailed")},
    }
    with private_rabbitmq(config, ("rabbitmq_management", "rabbitmq_consistent_hash_exchange")) as node:
        node.command(f'rabbit_auth_backend_internal:set_tags(<<"{node.user}">>, [administrator], <<"tests">>)')
        yield ManagedNode(node, f"http://127.0.0.1:{node.management_port}")
