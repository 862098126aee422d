"""Where the services of the tests come from.

Law: what the environment names for tests (RMQPOOL_TEST_AMQP_URL, RMQPOOL_TEST_POSTGRES_URL; never the application's
own RMQPOOL_*) is used as it is; else Docker where an engine answers; else the binaries on this machine. Nodes that
tests may break are always private ones. RMQPOOL_TEST_SERVICES=docker or =local settles which kind.
"""

import os
from collections.abc import Mapping

from rmqpool.testing.docker import DockerPostgres, DockerRabbitMQ, docker_answers
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.postgres import LocalPostgres, PostgresServer
from rmqpool.testing.rabbitmq import LocalRabbitMQ, RabbitMQNode

__all__ = ["ServicesError", "named_amqp_url", "named_postgres_url", "private_postgres", "private_rabbitmq"]


def named_amqp_url() -> str | None:
    """The broker that the environment names for tests, if any."""
    return os.environ.get("RMQPOOL_TEST_AMQP_URL") or None


def named_postgres_url() -> str | None:
    """The Postgres that the environment names for tests, if any."""
    return os.environ.get("RMQPOOL_TEST_POSTGRES_URL") or None


def private_rabbitmq(config: Mapping[str, str] | None = None, plugins: tuple[str, ...] = ()) -> RabbitMQNode:
    """A RabbitMQ node of the caller's own, not started yet; to be closed. Raises `ServicesError` without a source."""
    return DockerRabbitMQ(config, plugins) if _in_docker() else LocalRabbitMQ(config, plugins)


def private_postgres(settings: str = "") -> PostgresServer:
    """A Postgres of the caller's own, not started yet; to be closed. Raises `ServicesError` without a source."""
    return DockerPostgres(settings) if _in_docker() else LocalPostgres(settings)


def _in_docker() -> bool:
    wanted = os.environ.get("RMQPOOL_TEST_SERVICES") or "any"
    if wanted not in ("any", "docker", "local"):
        raise ServicesError(f"RMQPOOL_TEST_SERVICES is {wanted!r}; it may be docker or local.")
    if wanted == "docker" and not docker_answers():
        raise ServicesError("RMQPOOL_TEST_SERVICES is docker, and no Docker engine with Compose answers; start one.")
    return wanted == "docker" or (wanted == "any" and docker_answers())
