"""Whoever is told where a run ended can go on from there, and leaves nothing out."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.publishing.stops import early_end
from rmqpool.cli.publishing.tally import Tally
from rmqpool.errors import NotSentError, UnroutableError
from rmqpool.message import Confirmation


def told(tally: Tally, stopped: KeyboardInterrupt | None = None) -> str:
    """The sentence."""
    failure = early_end(tally, stopped)
    assert failure is not None
    return failure.message


def next_line(sentence: str) -> int:
    """Where it says to go on."""
    found = re.search(r"tail -n \+(\d+)", sentence)
    assert found is not None
    return int(found[1])


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_going_on_after_an_interrupt_leaves_no_line_out(sent: list[bool]) -> None:
    """Lines that were handed over and taken back again were not sent: they come first, and what comes twice is told."""
    tally = Tally()
    for line, was_sent in enumerate(sent, 1):
        tally.last_line = line
        if was_sent:
            tally.add(line, Confirmation(str(line), "", "q"))
        else:
            tally.withdraw(line)
    sentence = told(tally, KeyboardInterrupt())
    first = next_line(sentence)
    assert all(sent[: first - 1])
    again = sum(sent[first - 1 :])
    assert (f"sends {again} more a second time" in sentence) == bool(again)


def test_a_broker_that_is_away_is_told_with_the_next_line() -> None:
    """The rest was not read."""
    tally = Tally(last_line=7)
    tally.add(7, NotSentError("blocked"))
    failure = early_end(tally, None)
    assert failure is not None
    assert (failure.kind, failure.exit_code, next_line(failure.message)) == ("BrokerAway", ExitCode.PROBLEMS, 8)


def test_a_run_to_the_end_is_no_early_end() -> None:
    """Whatever became of single messages."""
    tally = Tally(last_line=7)
    tally.add(7, UnroutableError("nowhere"))
    assert early_end(tally, None) is None
