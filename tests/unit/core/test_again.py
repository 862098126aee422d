"""Which failed calls are made again: those that left nothing behind, and in doubt none."""

from __future__ import annotations

import asyncio

import pytest

import rmqpool.errors as errors
from rmqpool.core.again import IN_DOUBT, is_in_doubt, is_worth_another_attempt, nothing_was_done

ALL = [kind for name in errors.__all__ if isinstance(kind := getattr(errors, name), type)]


@pytest.mark.parametrize(
    "error",
    [
        errors.NotSentError("x"),
        errors.NackedError("x"),
        errors.ConnectionFailedError("x"),
        errors.PoolTimeoutError("x"),
        errors.TooManyWaitingError("x"),
        errors.CircuitOpenError("x"),
        errors.InboxUnavailableError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_was_refused_for_now_is_worth_another_attempt(error: Exception) -> None:
    """Without a choice of the user's."""
    assert is_worth_another_attempt(error, None, False)


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationError("x"),
        errors.VirtualHostNotFoundError("x"),
        errors.TLSError("x"),
        errors.PoolClosedError("x"),
        errors.ExchangeNotFoundError("x"),
        errors.PublishPreconditionError("x"),
        errors.UnroutableError("x"),
        errors.ConfigurationError("x"),
        errors.EncodeError("x"),
        ValueError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_time_does_not_mend_is_not(error: Exception) -> None:
    """Nor is what we do not know."""
    assert not is_worth_another_attempt(error, None, False)
    assert not is_worth_another_attempt(error, None, True)


def test_a_refusal_behind_another_error_counts() -> None:
    """A publish that was not sent as the password is wrong will not be sent later either."""
    error = errors.NotSentError("x")
    error.__cause__ = errors.AuthenticationError("x")
    assert not nothing_was_done(error)


@pytest.mark.parametrize("kind", IN_DOUBT, ids=lambda kind: kind.__name__)
def test_what_may_have_been_done_is_not_done_twice(kind: type[errors.RmqpoolError]) -> None:
    """Whatever the choice, by class or by function; but with idempotent it is."""
    error = kind("x")
    for on in (None, Exception, kind, lambda error: True):
        assert not is_worth_another_attempt(error, on, False)
        assert is_worth_another_attempt(error, on, True)


def test_one_doubt_in_a_group_is_a_doubt() -> None:
    """A group of errors, as from a task group, is as doubtful as each of them."""
    group = ExceptionGroup("x", [ValueError(), ExceptionGroup("y", [errors.UnknownOutcomeError("x")])])
    assert is_in_doubt(group)
    assert not is_worth_another_attempt(group, Exception, False)
    assert not is_in_doubt(ExceptionGroup("x", [ValueError()]))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError(), GeneratorExit()])
def test_what_is_no_exception_ends_the_attempts(error: BaseException) -> None:
    """Even if the choice is BaseException."""
    assert not is_worth_another_attempt(error, BaseException, True)


def test_no_error_of_ours_is_both_harmless_and_doubtful() -> None:
    """Each class of the tree says at most one of the two."""
    for kind in ALL:
        error = kind("x")
        assert not (nothing_was_done(error) and is_in_doubt(error)), kind
