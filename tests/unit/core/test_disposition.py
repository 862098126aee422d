"""What becomes of a delivery that was not handled well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.disposition import Action, Disposition, Ended, after_failed_parking, decide, requeue_pause

ENDS = st.sampled_from(Ended)
MODES = st.sampled_from(["park", "requeue"])


def test_a_failure_is_parked():
    """The default."""
    assert decide(Ended.FAILED, on_error="park", settled=False, attempt=1) == Disposition(Action.PARK)


def test_a_failure_goes_back_after_a_pause_when_asked_for():
    """on_error="requeue" is no hot loop."""
    disposition = decide(Ended.FAILED, on_error="requeue", settled=False, attempt=1)
    assert disposition.action is Action.REQUEUE
    assert disposition.delay == 0.1


@pytest.mark.parametrize("mode", ["park", "requeue"])
@pytest.mark.parametrize("ended", [Ended.UNDECODABLE, Ended.REJECTED])
def test_what_can_never_succeed_is_parked(ended, mode):
    """A body that cannot be decoded, or was rejected, never goes round, whatever on_error says."""
    assert decide(ended, on_error=mode, settled=False, attempt=7).action is Action.PARK


def test_a_retry_waits_as_long_as_it_asked_for():
    """And as long as any requeue if it did not ask."""
    assert decide(Ended.RETRY, on_error="park", settled=False, attempt=3, delay=7.5) == Disposition(Action.REQUEUE, 7.5)
    assert decide(Ended.RETRY, on_error="park", settled=False, attempt=3) == Disposition(Action.REQUEUE, 0.4)
    assert decide(Ended.RETRY, on_error="park", settled=False, attempt=3, delay=0.0) == Disposition(Action.REQUEUE, 0.0)


def test_what_the_worker_cancelled_is_given_back():
    """It did not fail: it is not counted as a failure where the broker tells the two apart."""
    assert decide(Ended.CANCELLED, on_error="park", settled=False, attempt=1).action is Action.GIVE_BACK


@given(ENDS, MODES, st.integers(1, 1000))
def test_what_is_settled_is_left_alone(ended, mode, attempt):
    """A second settlement would close the channel (406)."""
    assert decide(ended, on_error=mode, settled=True, attempt=attempt).action is Action.LEAVE


@given(st.integers(1, 10_000))
def test_pauses_grow_and_stay_bounded(attempt):
    """From 0.1 s to 5 s, never shorter than after the attempt before."""
    assert 0.1 <= requeue_pause(attempt) <= requeue_pause(attempt + 1) <= 5.0


def test_failed_parking_is_left_to_the_broker_when_its_target_is_known():
    """The broker did not answer us, so its dead-letter queue is not known to be missing or full."""
    action = after_failed_parking(may_be_written=True, broker_dead_letters=True, failures=1).action
    assert action is Action.DEAD_LETTER


@pytest.mark.parametrize(("may_be_written", "broker_dead_letters"), [(False, True), (True, False), (False, False)])
def test_failed_parking_otherwise_goes_back_after_a_pause(may_be_written, broker_dead_letters):
    """A dead-letter target that is missing, full or unknown would lose the message."""
    disposition = after_failed_parking(
        may_be_written=may_be_written, broker_dead_letters=broker_dead_letters, failures=1
    )
    assert disposition == Disposition(Action.REQUEUE, 1.0)


def test_what_its_queue_may_drop_is_held_and_tried_again():
    """Giving it back counts towards a delivery limit behind which nothing is known to take it."""
    disposition = after_failed_parking(may_be_written=True, broker_dead_letters=False, failures=2, hold=True)
    assert disposition == Disposition(Action.AGAIN, 2.0)
    assert after_failed_parking(may_be_written=True, broker_dead_letters=True, failures=2, hold=True).action is (
        Action.DEAD_LETTER
    )


@given(st.integers(1, 10_000))
def test_parking_that_keeps_failing_is_tried_ever_more_rarely(failures):
    """From 1 s to 30 s."""

    def pause(count: int) -> float:
        return after_failed_parking(may_be_written=False, broker_dead_letters=True, failures=count).delay

    assert 1.0 <= pause(failures) <= pause(failures + 1) <= 30.0
