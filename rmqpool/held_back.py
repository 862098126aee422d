"""Who is turned away while the circuit breaker around connecting is open: whoever would wait for a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rmqpool.errors import CircuitOpenError, NotSentError, PublishHeldBackError
from rmqpool.pool_events import PoolEventKind

if TYPE_CHECKING:
    from rmqpool.amqp.link import Link
    from rmqpool.message import Message
    from rmqpool.pool_figures import Figures

__all__ = ["not_declared", "refuse_publish", "refuse_to_wait", "told_of_all"]


def refuse_publish(figures: Figures, link: Link) -> None:
    """Raises PublishHeldBackError while there is no use in waiting for this connection. Nothing was written."""
    error = _why(figures, link, PublishHeldBackError)
    if error is not None:
        raise error


def refuse_to_wait(figures: Figures, link: Link) -> None:
    """As :func:`refuse_publish`, with CircuitOpenError, for those who want a channel."""
    error = _why(figures, link, CircuitOpenError)
    if error is not None:
        figures.tell(PoolEventKind.ACQUIRE_REFUSED, link.name, str(error), error)
        raise error


@contextmanager
def told_of_all(
    prepared: Iterable[tuple[Message, bytes]], not_taken: Callable[[Message, BaseException], None]
) -> Iterator[None]:
    """What is raised in here is told to ``not_taken`` for each message of a call that hands over none of them."""
    try:
        yield
    except BaseException as error:
        for message, _ in prepared:
            not_taken(message, error)
        raise


def not_declared(error: object) -> NotSentError:
    """What a publish ends with whose publisher could not declare its topology before."""
    sentence = f"nothing was sent: the publisher's topology could not be declared ({error})"
    if isinstance(error, CircuitOpenError):
        return PublishHeldBackError(sentence, name=error.name, retry_after=error.retry_after)
    return NotSentError(sentence)


def _why(figures: Figures, link: Link, kind: type[CircuitOpenError]) -> CircuitOpenError | None:
    if not link.is_held or link.refusal is not None:  # a refusal says more, and is raised at once by whoever waits
        return None
    error = link.circuit_open(kind)
    figures.failed(error)
    return error
