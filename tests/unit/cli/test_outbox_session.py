"""The options of ``rmqpool outbox``: ages, and how times are told."""

from __future__ import annotations

from datetime import timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.cli.outbox_session import duration, seconds_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("1.5s", timedelta(seconds=1.5)),
        (" 2w ", timedelta(weeks=2)),
        ("0d", timedelta(0)),
    ],
)
def test_an_age_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    """From seconds to weeks."""
    assert duration(text, "--older-than") == expected


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1y", "1e3d", "١d", "999999999w", "1 d"])
def test_what_is_no_age_is_a_usage_error(text: str) -> None:
    """With the option's name and examples: a wrong unit would remove too much."""
    with pytest.raises(typer.BadParameter, match=r"--older-than .*30d"):
        duration(text, "--older-than")


def test_no_age_is_none() -> None:
    """The option was not given."""
    assert duration(None, "--older-than") is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-3.0, "0.0 s"),
        (3.24, "3.2 s"),
        (60.0, "1 min 0 s"),
        (312.9, "5 min 12 s"),
        (7500.0, "2 h 5 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_times_are_told_in_two_units(seconds: float | None, text: str) -> None:
    """As people read them."""
    assert seconds_text(seconds) == text


@given(st.floats(-1e12, 1e12))
def test_every_time_can_be_told(seconds: float) -> None:
    """No number is without words."""
    assert seconds_text(seconds)
