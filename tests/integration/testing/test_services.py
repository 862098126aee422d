"""Which services the tests use is the environment's choice first."""

import pytest

from rmqpool.testing import services
from rmqpool.testing.errors import ServicesError


def test_named_services_are_the_tests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the variables for tests name services for tests, never the application's own."""
    monkeypatch.setenv("RMQPOOL_URL", "amqp://production")
    monkeypatch.delenv("RMQPOOL_TEST_AMQP_URL", raising=False)
    monkeypatch.setenv("RMQPOOL_TEST_POSTGRES_URL", "")
    assert services.named_amqp_url() is None
    assert services.named_postgres_url() is None
    monkeypatch.setenv("RMQPOOL_TEST_AMQP_URL", "amqp://tests")
    assert services.named_amqp_url() == "amqp://tests"


def test_an_unknown_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """RMQPOOL_TEST_SERVICES is docker or local."""
    monkeypatch.setenv("RMQPOOL_TEST_SERVICES", "podman")
    with pytest.raises(ServicesError, match="docker or local"):
        services.private_rabbitmq()


def test_a_missing_rabbitmq_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is named as RabbitMQ's home and is not is an error that names it."""
    monkeypatch.setenv("RMQPOOL_TEST_SERVICES", "local")
    monkeypatch.setenv("RMQPOOL_TEST_RABBITMQ_HOME", "/nowhere")
    with pytest.raises(ServicesError, match="/nowhere is not a RabbitMQ"):
        services.private_rabbitmq()
