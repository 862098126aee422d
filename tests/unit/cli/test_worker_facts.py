"""What the command line knows of a Worker."""

from __future__ import annotations

import pytest

from rmqpool import ConnectionSettings, Worker, parse_url


@pytest.mark.parametrize("pool", ["amqp://guest:guest@localhost/", parse_url("amqp://localhost/")])
def test_a_worker_says_whether_it_was_told_where_its_broker_is(pool: str | ConnectionSettings) -> None:
    """Without settings elsewhere the command line leaves the broker to such a worker."""
    assert Worker("orders", pool).has_pool
    assert not Worker("orders").has_pool
