"""Which services the tests use is the environment's choice first."""

import os
import subprocess
from pathlib import Path

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
    monkeypatch.delenv("RMQPOOL_TEST_RABBITMQ_ROOT", raising=False)
    monkeypatch.setenv("RMQPOOL_TEST_RABBITMQ_HOME", "/nowhere")
    with pytest.raises(ServicesError, match="/nowhere is not a RabbitMQ"):
        services.private_rabbitmq()
    monkeypatch.setenv("RMQPOOL_TEST_RABBITMQ_ROOT", "/elsewhere")
    with pytest.raises(ServicesError, match="/elsewhere has no RabbitMQ"):
        services.private_rabbitmq()


@pytest.mark.parametrize(("version", "said"), [(None, "there is none in"), ("3.13.7", "has RabbitMQ 3.13.7")])
def test_a_second_generation_that_is_not_there_is_an_exit_code_of_3(
    tmp_path: Path, version: str | None, said: str
) -> None:
    """`make rabbitmq4` runs no test then, and says so in one sentence that names the folder."""
    if version is not None:
        (tmp_path / "plugins" / f"rabbit-{version}").mkdir(parents=True)
    script = Path(__file__).parents[3] / "compose" / "test-rabbitmq4"
    ended = subprocess.run(
        [script],
        env={**os.environ, "RMQPOOL_RABBITMQ4": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 3
    assert ended.stderr.startswith("RabbitMQ 4 was not tested: ")
    assert said in ended.stderr
    assert str(tmp_path) in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_tests_of_a_second_generation_say_how_long_they_take() -> None:
    """And with which exit code they end; nothing is installed or started for that."""
    script = Path(__file__).parents[3] / "compose" / "test-rabbitmq4"
    told = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "minutes" in told
    assert "exit code is 3" in told
    assert "set -e" not in told
