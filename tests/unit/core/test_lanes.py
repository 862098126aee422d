"""Lanes: settled for good, in range, shared fairly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.lanes import LANES, fair_share, lane_of, lanes_to_give_up


def test_lanes_of_keys_never_change() -> None:
    """Rows with their lanes lie in tables: a release that computed others would break the order of keys."""
    assert LANES == 64
    assert [lane_of(key) for key in ("", "a", "customer-7", "Straße", "\U0001f600")] == [0, 3, 8, 17, 4]


@given(st.text())
def test_every_key_has_a_lane(key: str) -> None:
    """Whatever UTF-8 can hold has a lane from 0 to 63, always the same."""
    assert lane_of(key) == lane_of(key)
    assert 0 <= lane_of(key) < LANES


@given(st.integers(-2, 200))
def test_fair_shares_cover_all_lanes_and_not_much_more(relays: int) -> None:
    """Together the relays may keep all lanes, and with one lane less each they could not."""
    share = fair_share(relays)
    count = max(1, relays)
    assert share * count >= LANES
    assert (share - 1) * count < LANES


@given(st.sets(st.integers(0, LANES - 1)), st.integers(0, 100))
def test_what_is_given_up_is_what_is_too_much(owned: set[int], relays: int) -> None:
    """The highest lanes go, the fair share stays, and asking again gives up nothing."""
    given_up = lanes_to_give_up(owned, relays)
    kept = owned - set(given_up)
    assert set(given_up) <= owned
    assert len(kept) == min(len(owned), fair_share(relays))
    assert not given_up or not kept or max(kept) < min(given_up)
    assert lanes_to_give_up(kept, relays) == []
