"""Promises of the total-queue checker: it finds every loss and invents none."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.testing.checker import Outcome, TotalQueueChecker, Verdict

OUTCOMES = get_args(Outcome)
ids = st.sampled_from([f"m-{n}" for n in range(6)])
outcomes = st.sampled_from([*OUTCOMES, None])  # None: the attempt never ends


@given(st.dictionaries(ids, outcomes), st.lists(st.tuples(ids, st.booleans())))
def test_the_verdict_agrees_with_a_simple_model(
    published: dict[str, Outcome | None], delivered: list[tuple[str, bool]]
) -> None:
    """Sets and sums over whole histories give the same verdict as the checker's bookkeeping."""
    checker = TotalQueueChecker()
    for message_id, outcome in published.items():
        checker.record_attempt(message_id)
        if outcome is not None:
            checker.record_publish(message_id, outcome)
    for message_id, redelivered in delivered:
        checker.record_delivery(message_id, redelivered)

    arrived = {message_id for message_id, _ in delivered}
    by_outcome = Counter(published.values())
    verdict = checker.verdict()
    assert verdict == Verdict(
        attempted=len(published),
        confirmed=by_outcome["confirmed"],
        returned=by_outcome["returned"],
        nacked=by_outcome["nacked"],
        not_sent=by_outcome["not_sent"],
        unknown=by_outcome["unknown"],
        unfinished=by_outcome[None],
        received=len(arrived),
        duplicates=len(delivered) - len(arrived),
        redelivered=sum(redelivered for _, redelivered in delivered),
        lost=tuple(m for m, outcome in published.items() if outcome == "confirmed" and m not in arrived),
        phantom=tuple(sorted(arrived - published.keys())),
        unexpected=tuple(sorted(m for m in arrived if published.get(m) in ("not_sent", "returned"))),
    )
    assert checker.missing() == len(verdict.lost)
    assert verdict.ok == (not (verdict.lost or verdict.phantom or verdict.unexpected or by_outcome[None]))


@given(st.lists(st.sampled_from(["not_sent", "returned", "nacked", "unknown"])), st.sampled_from(OUTCOMES))
def test_a_message_sent_again_counts_once_by_its_strongest_outcome(earlier: list[Outcome], last: Outcome) -> None:
    """A confirm after anything is a confirm; an unknown before anything keeps the message possible."""
    checker = TotalQueueChecker()
    for outcome in [*earlier, last]:
        checker.record_attempt("m")
        checker.record_publish("m", outcome)
    strongest = next(o for o in ("confirmed", "unknown", "nacked", "returned", "not_sent") if o in [*earlier, last])
    verdict = checker.verdict()
    assert verdict.attempted == 1
    assert {name: getattr(verdict, name) for name in OUTCOMES} == {name: int(name == strongest) for name in OUTCOMES}


def published(outcome: Outcome) -> TotalQueueChecker:
    checker = TotalQueueChecker()
    checker.record_attempt("m")
    checker.record_publish("m", outcome)
    return checker


@pytest.mark.parametrize(
    ("outcome", "received", "ok"),
    [
        ("confirmed", True, True),
        ("confirmed", False, False),
        ("returned", True, False),
        ("returned", False, True),
        ("nacked", True, True),
        ("nacked", False, True),
        ("not_sent", True, False),
        ("not_sent", False, True),
        ("unknown", True, True),
        ("unknown", False, True),
    ],
)
def test_what_each_outcome_promises(outcome: Outcome, received: bool, ok: bool) -> None:
    """Confirmed must arrive; not sent and returned must not; nacked and unknown may."""
    checker = published(outcome)
    if received:
        checker.record_delivery("m")
    assert checker.verdict().ok is ok


def test_a_delivery_may_be_recorded_before_the_outcome() -> None:
    """A fast consumer is faster than the confirm."""
    checker = TotalQueueChecker()
    checker.record_attempt("m")
    checker.record_delivery("m")
    checker.record_publish("m", "confirmed")
    checker.verdict().raise_if_wrong()


def test_duplicates_are_counted_and_allowed() -> None:
    """At least once means that a second delivery is no error."""
    checker = published("confirmed")
    checker.record_delivery("m")
    checker.record_delivery("m", redelivered=True)
    verdict = checker.verdict()
    verdict.raise_if_wrong()
    assert (verdict.received, verdict.duplicates, verdict.redelivered) == (1, 1, 1)


def test_a_hung_publish_is_wrong() -> None:
    """An attempt without an outcome is a publish that never ended."""
    checker = TotalQueueChecker()
    checker.record_attempt("m")
    with pytest.raises(AssertionError, match="1 of 1 publishes never came to an outcome"):
        checker.verdict().raise_if_wrong()


def test_a_killed_publisher_leaves_unknown_messages() -> None:
    """When the test killed the publisher, its open attempts are unknown, and the others are untouched."""
    checker = published("confirmed")
    checker.record_attempt("open")
    assert checker.abandon_unfinished() == 1
    verdict = checker.verdict()
    assert (verdict.unknown, verdict.confirmed, verdict.unfinished) == (1, 1, 0)


def test_the_sentence_counts_and_names() -> None:
    """The error says how many of how many, which ones, and all the numbers."""
    checker = TotalQueueChecker()
    for n in range(8):
        checker.record_attempt(f"m-{n}")
        checker.record_publish(f"m-{n}", "confirmed" if n else "not_sent")
    checker.record_delivery("m-0")
    checker.record_delivery("ghost")
    with pytest.raises(AssertionError) as caught:
        checker.verdict().raise_if_wrong()
    assert str(caught.value) == (
        "7 of 7 confirmed messages were never received (m-1, m-2, m-3, m-4, m-5, ...); "
        "1 messages were received that nobody sent (ghost); "
        "1 messages were received although not sent or returned (m-0) "
        "[attempted 8, confirmed 7, returned 0, nacked 0, not sent 1, unknown 0, unfinished 0, "
        "received 2, duplicates 0, redelivered 0]"
    )


def test_a_good_verdict_raises_nothing_and_says_so() -> None:
    """Nothing lost, nothing to raise."""
    verdict = TotalQueueChecker().verdict()
    verdict.raise_if_wrong()
    assert str(verdict).startswith("nothing lost [attempted 0,")


def test_mistakes_of_the_test_are_refused() -> None:
    """An id used twice, an outcome without an attempt or with a wrong name would make the verdict worthless."""
    checker = TotalQueueChecker()
    with pytest.raises(ValueError, match="no attempt under way"):
        checker.record_publish("m", "confirmed")
    checker.record_attempt("m")
    with pytest.raises(ValueError, match="still under way"):
        checker.record_attempt("m")
    wrong: Any = "lost"
    with pytest.raises(ValueError, match="'lost': it is one of confirmed, returned"):
        checker.record_publish("m", wrong)
    checker.record_publish("m", "confirmed")
    with pytest.raises(ValueError, match="no attempt under way"):
        checker.record_publish("m", "confirmed")
    with pytest.raises(ValueError, match="confirmed already"):
        checker.record_attempt("m")


def test_many_threads_record_at_once() -> None:
    """Eight threads that publish and consume lose no count."""
    checker = TotalQueueChecker()
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait(timeout=10)
        for n in range(500):
            checker.record_attempt(f"{thread}-{n}")
            checker.record_delivery(f"{thread}-{n}")
            checker.record_delivery("shared", redelivered=True)
            checker.record_publish(f"{thread}-{n}", "confirmed")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    verdict = checker.verdict()
    assert (verdict.confirmed, verdict.received, verdict.duplicates, verdict.redelivered) == (4000, 4001, 3999, 4000)
    assert verdict.phantom == ("shared",)
