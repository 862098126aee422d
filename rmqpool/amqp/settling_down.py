"""The time between the last settlement of a channel and its close. For the I/O thread."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from rmqpool.amqp.connection import Connection
from rmqpool.amqp.consume_session import ConsumeSession
from rmqpool.amqp.link import Link

__all__ = ["settle_down"]


def settle_down(
    link: Link,
    connection: Connection | None,
    session: ConsumeSession | None,
    answered_in: float,
    done: Callable[[], None],
) -> None:
    """Call ``done`` once what was settled in ``session`` outlives a close of its channel, or the channel is lost.

    ``answered_in``: seconds that the broker took for a command. ``done`` may be called twice.
    """
    if session is None:
        done()
        return
    session.write(connection)
    pause = session.burst.patience(monotonic(), answered_in)
    if not pause:
        done()
        return
    session.on_loss = done
    # An answer says that the channel has dealt with everything that came before the question.
    link.call_later(pause, lambda: session.ask(link.contained(lambda _: done())))
