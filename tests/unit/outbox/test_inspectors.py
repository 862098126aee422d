"""What an inspector refuses before it looks at anything; no server is needed."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy

from rmqpool.errors import ConfigurationError
from rmqpool.outbox import AsyncInspector, Inspector
from rmqpool.testing.passwords import MARK

URL = "postgresql://shop@127.0.0.1/shop"
BAD = f"postgresql://shop:a@{MARK}@127.0.0.1/shop"
INSPECTORS = pytest.mark.parametrize("inspector", [Inspector, AsyncInspector])


@INSPECTORS
def test_a_lag_without_a_replica_is_refused(inspector: Any) -> None:
    """It would do nothing; and a lag that cannot be meant is refused with one."""
    with pytest.raises(ConfigurationError, match="max_lag is for a replica, and none was given"):
        inspector(URL, max_lag=5)
    with pytest.raises(ConfigurationError, match="max_lag"):
        inspector(URL, replica=URL, max_lag=-1)


@INSPECTORS
def test_a_url_that_cannot_be_read_is_told_by_its_name(inspector: Any) -> None:
    """The replica's is not taken for the database's; neither is repeated."""
    with pytest.raises(ConfigurationError, match=r"^the replica's URL cannot be read") as caught:
        inspector(URL, replica=BAD)
    assert MARK not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"^the database's URL cannot be read"):
        inspector(BAD, replica=URL)


@INSPECTORS
def test_what_is_no_source_is_refused_with_what_would_be(inspector: Any) -> None:
    """By the place where it was given, and at once."""
    with pytest.raises(ConfigurationError, match=r"^(Async)?Inspector was given a builtins\.int"):
        inspector(17)
    with pytest.raises(ConfigurationError, match=r"Inspector\(replica=…\) was given a builtins\.int; it takes a URL"):
        inspector(URL, replica=17)


def test_what_blocks_is_told_from_what_is_awaited() -> None:
    """With what would do."""
    engine = sqlalchemy.create_engine("postgresql+psycopg://127.0.0.1/shop")
    with pytest.raises(ConfigurationError, match=r"AsyncInspector is awaited, and a sqlalchemy.*AsyncEngine"):
        AsyncInspector(engine)
    with pytest.raises(ConfigurationError, match=r"^Inspector\(replica=…\) was given a .*AsyncInspector; it takes"):
        Inspector(URL, replica=AsyncInspector(URL))
