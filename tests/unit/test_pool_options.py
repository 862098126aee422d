"""What a pool's arguments may be is told in the same words by every pool."""

from collections.abc import Callable
from typing import Any

import pytest

from rmqpool import AsyncResourcePool, ConfigurationError, ConnectionPool, ResourcePool
from rmqpool.pool_options import seconds_or_now


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "3"])
@pytest.mark.parametrize(
    "make",
    [
        lambda wrong: ConnectionPool("amqp://127.0.0.1/", max_waiting=wrong),
        lambda wrong: ResourcePool(object, max_waiting=wrong),
        lambda wrong: AsyncResourcePool(object, max_waiting=wrong),
    ],
    ids=["ConnectionPool", "ResourcePool", "AsyncResourcePool"],
)
def test_a_bound_on_waiting_that_is_none_is_told_alike(make: Callable[[object], object], wrong: object) -> None:
    """With its name, what was given, and what to give."""
    with pytest.raises(ConfigurationError) as caught:
        make(wrong)
    assert str(caught.value) == f"max_waiting is {wrong!r}; give a whole number of at least 0"


@pytest.mark.parametrize("wrong", [-1, "3", True, float("nan"), float("inf")])
def test_a_timeout_that_is_none_is_told_alike(wrong: Any) -> None:
    """Of a channel and of a resource, before anything is opened; 0 is for what is free at once."""
    told = f"timeout is {wrong!r}; give seconds, 0 for what is free at once"
    with (
        ResourcePool(object, max_size=1) as resources,
        resources.lease(),
        pytest.raises(ConfigurationError) as of_resources,
    ):
        resources.acquire(timeout=wrong)
    assert str(of_resources.value) == told
    with pytest.raises(ConfigurationError) as of_channels:
        seconds_or_now(wrong)
    assert str(of_channels.value) == told
