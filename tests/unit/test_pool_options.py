"""What a pool's arguments may be is told in the same words by every pool."""

from collections.abc import Callable

import pytest

from rmqpool import AsyncResourcePool, ConfigurationError, ConnectionPool, ResourcePool


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
