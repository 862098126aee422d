"""Whether a call that failed may be made again: what is sure not to have been done, and what nobody knows. Pure."""

from __future__ import annotations

from rmqpool.core.error_choice import ErrorChoice, chooses
from rmqpool.errors import (
    AuthenticationError,
    CallTimeoutError,
    CircuitOpenError,
    CommitUnknownError,
    ConnectionFailedError,
    ConnectionLostError,
    InboxUnavailableError,
    NackedError,
    NotSentError,
    PoolClosedError,
    PoolTimeoutError,
    ReplyLostError,
    ReplyTimeoutError,
    TLSError,
    TooManyWaitingError,
    UnknownOutcomeError,
    VirtualHostAccessError,
    VirtualHostNotFoundError,
)

__all__ = ["IN_DOUBT", "is_in_doubt", "is_worth_another_attempt", "nothing_was_done"]

IN_DOUBT = (
    UnknownOutcomeError,
    CommitUnknownError,
    ConnectionLostError,
    CallTimeoutError,
    ReplyTimeoutError,
    ReplyLostError,
)
"""After these nobody knows whether it was done: making the call again may do it twice."""

_NOT_DONE = (
    ConnectionFailedError,
    NotSentError,
    PoolTimeoutError,
    TooManyWaitingError,
    CircuitOpenError,
    InboxUnavailableError,
)
# Time mends none of these; a wrong password that is tried again and again gets its user locked out.
_LASTING = (AuthenticationError, VirtualHostNotFoundError, VirtualHostAccessError, TLSError, PoolClosedError)


def nothing_was_done(error: BaseException) -> bool:
    """True if the call left nothing behind, and a later one may work: not sent, refused for now, no connection."""
    if isinstance(error, _LASTING) or isinstance(error.__cause__, _LASTING):
        return False
    return isinstance(error, _NOT_DONE) or type(error) is NackedError  # its subclasses say: never


def is_in_doubt(error: BaseException) -> bool:
    """True if the call may have been done, or one of a group's; PoolTimeoutError and the like say that it was not."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_in_doubt(one) for one in error.exceptions)
    return isinstance(error, IN_DOUBT)


def is_worth_another_attempt(error: BaseException, on: ErrorChoice | None, idempotent: bool) -> bool:
    """Is the call to be made again? ``on``: the user's choice, None for ours; ``idempotent``: done twice is as done once.

    What is no Exception (a cancelled task, Ctrl-C) ends the attempts, whatever the choice. Raises what a function of the
    user's raises.
    """
    if not isinstance(error, Exception) or (is_in_doubt(error) and not idempotent):
        return False
    if on is None:
        return nothing_was_done(error) or is_in_doubt(error)
    return chooses(on, error)
