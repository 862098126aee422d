"""The workers that are ready to run, as a command: what is wrong with their environment is one sentence."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Run

URL = "amqp://guest:hunter2secret@127.0.0.1:1/"


@pytest.mark.parametrize(
    ("name", "env", "said"),
    [
        ("webhook", {}, "WEBHOOK_URL is not set: set it to the endpoint"),
        ("webhook", {"WEBHOOK_URL": "https://e.com", "WEBHOOK_TIMEOUT": "soon"}, "WEBHOOK_TIMEOUT is 'soon': "),
        ("archive", {}, "RMQPOOL_POSTGRES_URL is not set: set it to the URL of the archive's database"),
        (
            "shovel",
            {"SHOVEL_FROM_QUEUE": "a", "SHOVEL_TO_URL": URL},
            "set either SHOVEL_TO_QUEUE or SHOVEL_TO_EXCHANGE",
        ),
        (
            "shovel",
            {"SHOVEL_FROM_QUEUE": "a", "SHOVEL_TO_QUEUE": "a", "SHOVEL_TO_URL": URL, "RMQPOOL_URL": URL},
            "SHOVEL_TO_QUEUE: messages would go from 'a' into itself, for ever",
        ),
    ],
)
def test_a_wrong_environment_is_one_sentence(rmqpool: Run, name: str, env: dict[str, str], said: str) -> None:
    """Exit code 3, the variable's name, no traceback and no secret."""
    ended = rmqpool("worker", f"workers.{name}:worker", env=env)
    assert ended.code == 3, ended.text
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert "hunter2secret" not in ended.text


def test_a_worker_is_checked_without_a_broker(rmqpool: Run) -> None:
    """`rmqpool check` shows the queue that the environment names."""
    ended = rmqpool("check", "workers.webhook:worker", env={"WEBHOOK_URL": "https://e.com", "WEBHOOK_QUEUE": "hooks"})
    assert ended.code == 0, ended.text
    assert "hooks" in ended.out


def test_another_name_is_a_sentence_too(rmqpool: Run) -> None:
    """The packages make their worker when it is asked for: other names are not there."""
    ended = rmqpool("worker", "workers.shovel:wroker")
    assert ended.code == 3
    assert "module workers.shovel has no wroker" in ended.err
