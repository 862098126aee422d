"""Where a migration stands, and what the new queue is."""

from __future__ import annotations

from typing import Any

import pytest

from rmqpool.core.queue_migration import (
    MARK,
    Found,
    Stage,
    next_stage,
    quorum_successor,
    recipe,
    successor_in,
    temporary_arguments,
    unsafe_policy_keys,
)
from rmqpool.errors import MigrationError
from rmqpool.topology import Queue

OURS = Found("quorum", marked=True)


@pytest.mark.parametrize(
    ("old", "temporary", "stage"),
    [
        (Found("classic"), None, Stage.PREPARE),
        (Found("classic"), OURS, Stage.EMPTY),
        (None, OURS, Stage.DECLARE),
        (Found("quorum"), OURS, Stage.RETURN),
        (Found("quorum"), None, Stage.DONE),
    ],
)
def test_what_is_there_says_what_comes_next(old: Found | None, temporary: Found | None, stage: Stage) -> None:
    """Nothing else is remembered anywhere."""
    assert next_stage("orders", old, temporary) is stage


@pytest.mark.parametrize(
    ("old", "temporary", "told"),
    [
        (None, None, "does not exist"),
        (Found("stream"), None, "stream queue"),
        (Found("stream"), OURS, "stream queue"),
        (Found("classic"), Found("quorum"), "no migration made"),
        (None, Found("quorum"), "no migration made"),
    ],
)
def test_what_cannot_be_migrated_is_refused(old: Found | None, temporary: Found | None, told: str) -> None:
    """Above all a queue of somebody else's under the temporary name."""
    with pytest.raises(MigrationError, match=told):
        next_stage("orders", old, temporary)


def classic(**arguments: Any) -> dict[str, Any]:
    """A classic queue as the API tells it."""
    named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    return {"name": "orders", "durable": False, "type": "classic", "arguments": named}


def test_the_new_queue_does_what_the_old_one_did() -> None:
    """What no quorum queue knows is dropped and told; it is durable, and has a delivery limit."""
    queue, dropped = quorum_successor(classic(message_ttl=1500, max_length=7, max_priority=5, queue_mode="lazy"))
    assert queue.durable
    assert queue.declare_arguments() == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 100,
        "x-message-ttl": 1500,
        "x-max-length": 7,
    }
    assert dropped == ("x-max-priority", "x-queue-mode")


def test_dead_letters_become_at_least_once_where_nothing_is_dropped_from_the_head() -> None:
    """That is, where the old queue has no bound, or rejects what is above it."""
    unbound, _ = quorum_successor(classic(dead_letter_exchange="dead"))
    assert unbound.declare_arguments()["x-dead-letter-strategy"] == "at-least-once"
    rejecting, dropped = quorum_successor(
        classic(dead_letter_exchange="dead", max_length=5, overflow="reject-publish-dlx")
    )
    assert rejecting.declare_arguments()["x-dead-letter-strategy"] == "at-least-once"
    assert dropped == ("x-overflow=reject-publish-dlx",)
    dropping, _ = quorum_successor(classic(dead_letter_exchange="dead", max_length=5))
    assert "x-dead-letter-strategy" not in dropping.declare_arguments()


@pytest.mark.parametrize("flag", ["exclusive", "auto_delete"])
def test_a_queue_that_ends_by_itself_is_refused(flag: str) -> None:
    """No quorum queue does."""
    with pytest.raises(MigrationError, match=flag):
        quorum_successor({**classic(), flag: True})


def test_the_temporary_queue_says_what_the_new_one_will_be() -> None:
    """So that whoever goes on needs nothing else."""
    queue = Queue("orders", message_ttl=5, delivery_limit=3)
    arguments = temporary_arguments(queue)
    assert successor_in("orders", arguments).declare_arguments() == queue.declare_arguments()
    assert set(arguments) == {"x-queue-type", "x-delivery-limit", MARK}
    with pytest.raises(MigrationError, match="cannot be read"):
        successor_in("orders", {MARK: "{"})


def test_policies_that_drop_messages_are_found() -> None:
    """Whatever the API tells where there is none."""
    assert unsafe_policy_keys({"message-ttl": 5, "queue-mode": "lazy", "max-length": 1}) == [
        "message-ttl",
        "max-length",
    ]
    assert [unsafe_policy_keys(nothing) for nothing in ({}, [], None, "")] == [[], [], [], []]


def test_the_recipe_names_both_queues_and_the_arguments() -> None:
    """In the order in which it is done."""
    steps = "\n".join(recipe("orders", Queue("orders"), 1))
    assert steps.index("orders.migration") < steps.index("delete orders,") < steps.index("x-delivery-limit")
    assert "its 1 binding)" in steps
