"""The verdict on a pool: each symptom by itself, the worst one first, and always something to do about it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.verdict import RESOURCES, ChannelFacts, ConnectionFacts, OpeningFacts, PoolFacts, PoolState, judge

UP = ConnectionFacts("publish-1", ready=True)
LOST = ConnectionFacts("publish-1", ready=False, last_error="connection reset by peer")
REFUSED = ConnectionFacts("publish-1", ready=False, refused=True, last_error="wrong password")
BLOCKED = ConnectionFacts("publish-1", ready=True, blocked="low on memory")
CALM = ChannelFacts(capacity=32, leased=4, recent_granted=100, recent_use=0.01)

CASES = {
    "ok": (PoolFacts((UP,), CALM), PoolState.OK, "nobody waits"),
    "closed": (PoolFacts(closed=True), PoolState.DOWN, "open a new one"),
    "refused": (PoolFacts((REFUSED,)), PoolState.DOWN, "wrong password"),
    "reconnecting": (PoolFacts((LOST,)), PoolState.DOWN, "connection reset by peer"),
    "blocked": (PoolFacts((BLOCKED,)), PoolState.DEGRADED, "low on memory"),
    "flapping": (PoolFacts((UP,), recent_reconnects=5, seconds=40), PoolState.DEGRADED, "5 times within 40 s"),
    "leak": (
        PoolFacts((UP,), dataclasses.replace(CALM, overdue=2, longest_lease=61)),
        PoolState.DEGRADED,
        "the longest for 61.0 s",
    ),
    "saturated": (
        PoolFacts((UP,), dataclasses.replace(CALM, leased=32, waiting=5, recent_timed_out=3)),
        PoolState.DEGRADED,
        "32 of 32 channels are leased and 5 callers wait",
    ),
    "window": (PoolFacts((UP,), unsettled=4900, window=5000), PoolState.DEGRADED, "4900 of 5000 messages"),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_symptom_is_told(kind: str) -> None:
    """With its state, its reason, and what to do."""
    facts, state, told = CASES[kind]
    health = judge(facts)
    assert (health.kind, health.state) == (kind, state)
    assert told in str(health)
    assert bool(health.recommendation) is (state is not PoolState.OK)
    assert health.ready is (state is not PoolState.DOWN)


def test_the_cause_stands_before_its_effects() -> None:
    """Without a connection everybody waits for a channel: the connection is what to look at."""
    waiting = dataclasses.replace(CALM, waiting=9, recent_timed_out=9, longest_wait=29, leased=32)
    health = judge(PoolFacts((LOST,), waiting))
    assert [symptom.kind for symptom in health.symptoms] == ["reconnecting", "saturated"]
    assert health.kind == "reconnecting"


def test_one_connection_of_several_away_is_degraded() -> None:
    """The others still serve."""
    assert judge(PoolFacts((UP, LOST))).state is PoolState.DEGRADED


def test_a_pool_that_nobody_used_is_well() -> None:
    """It opens itself at its first use."""
    assert judge(PoolFacts()).reason == "no connection was needed yet"


def test_more_channels_are_recommended_by_littles_law() -> None:
    """Forty leases a second of two seconds each keep eighty channels busy; a quarter is spare."""
    busy = ChannelFacts(32, leased=32, waiting=4, recent_granted=1196, recent_timed_out=1200, recent_use=2.0)
    told = judge(PoolFacts((UP,), busy, seconds=60)).recommendation
    assert "raise channels_per_connection from 32 to 100" in told


def test_bursts_that_are_refused_ask_for_patience_not_for_channels() -> None:
    """Channels come back in time: the bound on who waits is what is too small."""
    bursts = dataclasses.replace(CALM, leased=32, recent_refused=3, max_waiting=10)
    assert "raise max_waiting from 10" in judge(PoolFacts((UP,), bursts)).recommendation


def test_who_had_no_connection_asks_for_no_channels() -> None:
    """Not after it is back, either: more channels would have helped nobody."""
    outage = dataclasses.replace(CALM, recent_timed_out=9, recent_refused=3, recent_away=12, recent_wait=29)
    assert judge(PoolFacts((UP,), outage)).kind == "ok"
    assert judge(PoolFacts((UP,), dataclasses.replace(outage, waiting=1))).kind == "ok"
    assert judge(PoolFacts((UP,), dataclasses.replace(outage, recent_away=11))).kind == "saturated"


def test_a_lease_that_lasts_while_others_wait_is_suspected() -> None:
    """Without leak_after, too."""
    held = dataclasses.replace(CALM, leased=32, waiting=1, longest_lease=31)
    assert judge(PoolFacts((UP,), held, timeout=30)).kind == "leak"
    assert judge(PoolFacts((UP,), dataclasses.replace(held, waiting=0), timeout=30)).kind == "ok"


FREE = ChannelFacts(capacity=10, leased=2, recent_granted=100, recent_use=0.01, words=RESOURCES)
OPENS = OpeningFacts(size=4, recent_opened=4)


def test_who_cannot_open_is_down_while_somebody_needs_it() -> None:
    """Where some are open it is degraded; so it is when nobody asks: nothing is tried then, and all may be well again."""
    failing = OpeningFacts(size=0, wanted=1, failures_in_a_row=7, last_error="ConnectionRefusedError")
    health = judge(PoolFacts(channels=FREE, opening=failing))
    assert (health.kind, health.ready) == ("unopened", False)
    assert "the last 7 opens failed, the last one with ConnectionRefusedError" in health.reason
    assert judge(PoolFacts(channels=FREE, opening=dataclasses.replace(failing, size=1))).state is PoolState.DEGRADED
    assert judge(PoolFacts(channels=FREE, opening=dataclasses.replace(failing, wanted=0))).state is PoolState.DEGRADED


def test_resources_that_die_are_told() -> None:
    """As connections that flap are."""
    health = judge(PoolFacts(channels=FREE, opening=dataclasses.replace(OPENS, recent_lost=3), seconds=30))
    assert (health.kind, health.reason) == ("flapping", "3 resources were found dead within 30 s")


def test_the_setting_of_resources_is_recommended() -> None:
    """More of them; or, where there is room, to open them earlier."""
    full = dataclasses.replace(FREE, leased=10, waiting=4, recent_timed_out=3)
    assert "raise max_size from 10" in judge(PoolFacts(channels=full, opening=OPENS)).recommendation
    slow = dataclasses.replace(OPENS, recent_create=2.5)
    told = judge(PoolFacts(channels=dataclasses.replace(full, leased=3), opening=slow)).recommendation
    assert told.startswith("opening is what they wait for (2.5 s each): raise min_size, or growth")
    assert judge(PoolFacts(channels=FREE, opening=OPENS)).reason == "resources can be opened, and nobody waits for long"


COUNTS = st.integers(0, 10_000)
SECONDS = st.floats(0, 10_000)


@given(
    st.lists(st.sampled_from([UP, LOST, REFUSED, BLOCKED]), max_size=4),
    st.none()
    | st.builds(ChannelFacts, st.integers(1, 2000), *[COUNTS] * 3, SECONDS, SECONDS, *[COUNTS] * 5, SECONDS, SECONDS),
    st.booleans(),
    st.builds(dict, unsettled=COUNTS, window=COUNTS, recent_reconnects=COUNTS, seconds=SECONDS, timeout=SECONDS),
)
def test_any_figures_have_a_verdict(
    connections: list[ConnectionFacts], channels: ChannelFacts | None, closed: bool, rest: dict[str, float]
) -> None:
    """It is never better than its worst symptom, and each symptom says what to do."""
    health = judge(PoolFacts(tuple(connections), channels, closed, **rest))  # type: ignore[arg-type]
    assert (health.state is PoolState.OK) == (not health.symptoms)
    if health.symptoms:
        assert (health.state, health.kind) == (health.symptoms[0].state, health.symptoms[0].kind)
        assert all(symptom.reason and symptom.recommendation for symptom in health.symptoms)
    if PoolState.DOWN in [symptom.state for symptom in health.symptoms]:
        assert not health.ready
