"""The books of a run."""

from __future__ import annotations

from rmqpool.cli.publishing.tally import Tally
from rmqpool.errors import NackedError, NotSentError, UnknownOutcomeError, UnroutableError
from rmqpool.message import Confirmation


def test_every_outcome_is_counted_and_all_five_are_told() -> None:
    """The failures are kept with their lines."""
    tally = Tally()
    tally.add(1, Confirmation("a", "", "q", attempts=2))
    for line, kind in enumerate((UnroutableError, NackedError, NotSentError, UnknownOutcomeError), 2):
        tally.add(line, kind("why", message_id=str(line)))
    told = tally.as_json(2.0)
    assert told["outcomes"] == {"confirmed": 1, "returned": 1, "nacked": 1, "not_sent": 1, "unknown": 1}
    assert [failure["line"] for failure in told["failures"]] == [2, 3, 4, 5]
    assert (tally.total, tally.failed, told["written_again"], told["ok"]) == (5, 4, 1, False)
    assert tally.summary(2.0).startswith("1 confirmed, 1 returned, 1 nacked, 1 not sent, 1 unknown (1 written again")


def test_only_a_missing_verdict_means_that_the_broker_is_away() -> None:
    """Returned and nacked are the broker's own words about one message."""
    tally = Tally()
    tally.add(1, UnroutableError("x"))
    tally.add(2, NackedError("x"))
    assert not tally.broker_is_away
    tally.add(3, NotSentError("x"))
    assert tally.broker_is_away


def test_memory_is_bounded_and_what_is_left_out_is_told() -> None:
    """A million failures are a million in the count, and a thousand in the list."""
    tally = Tally()
    for line in range(1500):
        tally.add(line, NackedError("x"))
    assert (len(tally.failures), tally.as_json(1.0)["failures_left_out"]) == (1000, 500)
