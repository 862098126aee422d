"""From what happened to a message to its outcome, in words. Publish futures get them here, on the I/O
thread; those that their users withdraw, and what is left when the thread has ended, excepted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from rmqpool.amqp.link import Link
from rmqpool.core.confirms import Returned
from rmqpool.errors import (
    ExchangeNotFoundError,
    NackedError,
    NotSentError,
    PublishAccessRefusedError,
    PublishError,
    PublishPreconditionError,
    RmqpoolError,
    UnknownOutcomeError,
    UnroutableError,
)
from rmqpool.future import DONE, WRITTEN, PublishFuture, finish_all
from rmqpool.window import Window

__all__ = ["Outcomes"]

_REFUSALS: dict[int, tuple[type[NackedError], str]] = {
    403: (PublishAccessRefusedError, "the user needs write permission for the exchange (rabbitmqctl set_permissions)"),
    404: (ExchangeNotFoundError, "declare the exchange first, or correct its name"),
    406: (PublishPreconditionError, "the message is larger than the broker takes, or has a property that it refuses"),
}


class Outcomes:
    """Gives each message its one outcome and frees its place in the window."""

    def __init__(self, window: Window, link: Link, lock: threading.Lock, why_no_channel: Callable[[], str]) -> None:
        self._window = window
        self._link = link
        self._why_no_channel = why_no_channel
        self._lock = lock  # whoever ends a message that its user may withdraw in this moment holds it

    def confirmed(self, futures: Sequence[PublishFuture]) -> None:
        """basic.ack, and nothing came back before."""
        ended = [future for future in futures if future.confirm()]  # the others' deadline passed before the confirm
        if not ended:
            return
        self._window.leave(len(ended), sum([future.size for future in ended]))
        awaited = [future for future in ended if future.is_awaited]
        if awaited:  # last: a callback may want the place in the window, and who is woken wants the GIL
            self._link.at_end_of_turn(lambda: finish_all(awaited))

    def returned(self, future: PublishFuture, returned: Returned) -> None:
        """basic.return: no queue took it."""
        message = future.message
        if message.exchange:
            hint = f"no queue is bound to exchange {message.exchange!r} for routing key {message.routing_key!r}"
        else:
            hint = f"the queue {message.routing_key!r} may not exist: declare it, or start its worker once"
        self._refusal(
            future,
            UnroutableError(
                f"message {message.message_id} was returned by the broker ({returned.reply_code} {returned.reply_text}; "
                f"exchange {message.exchange or '(default)'!s}, routing key {message.routing_key!r}): {hint}",
                reply_code=returned.reply_code,
                reply_text=returned.reply_text,
                **future.names(),
            ),
        )

    def nacked(self, future: PublishFuture, code: int, text: str) -> None:
        """basic.nack (code 0), or the channel was closed because of this message."""
        message = future.message
        if not code:
            sentence = (
                f"message {message.message_id} to {_target(future)} was refused by the broker (basic.nack, "
                f"{future.nacks} times): the queue is full and rejects publishes, or the broker had an internal error"
            )
            self._refusal(future, NackedError(sentence, **future.names()))
            return
        kind, step = _REFUSALS.get(code, (NackedError, "the broker ended the connection because of it"))
        sentence = f"message {message.message_id} to {_target(future)} was refused by the broker: {code} {text}; {step}"
        self._refusal(future, kind(sentence, code=code, text=text, **future.names()))

    def expired(self, future: PublishFuture) -> None:
        """The deadline passed."""
        if future.attempts > future.nacks:
            self._end(future, self._unknown(future, "no confirm came by its deadline"))
            return
        if future.nacks:
            self.nacked(future, 0, "")
            return
        why = f"the broker blocks publishing ({self._link.blocked})" if self._link.blocked else self._why_waiting()
        self._end(
            future,
            NotSentError(
                f"message {future.message.message_id} to {_target(future)} was not sent by its deadline: {why}; "
                "nothing was written, so publishing it again is safe",
                **future.names(),
            ),
            self._link.last_error,
        )

    def blocked_too_long(self, future: PublishFuture) -> None:
        """The broker blocks the connection for longer than blocked_timeout."""
        if future.attempts > future.nacks:
            return  # it was written before: it has until its deadline
        sentence = (
            f"message {future.message.message_id} to {_target(future)} was not sent: the broker blocks publishing for "
            f"longer than blocked_timeout ({self._link.blocked}); free memory or disk on the broker"
        )
        self._end(future, NotSentError(sentence, **future.names()))

    def headers_too_large(self, future: PublishFuture, room: int) -> None:
        """This broker agreed to smaller frames than the settings allow; writing it would end the connection (501)."""
        if future.attempts:  # written to another host of the list, which had larger frames
            self._end(future, self._unknown(future, f"its headers do not fit into a frame of {room} bytes here"))
            return
        sentence = (
            f"message {future.message.message_id} to {_target(future)} was not sent: its headers take {len(future.header)} "
            f"bytes, and a frame of this broker holds {room}: put large values into the body, or raise the broker's frame_max"
        )
        self._end(future, NotSentError(sentence, **future.names()))

    def lost(self, future: PublishFuture, text: str, cause: RmqpoolError | None) -> None:
        """The channel or connection died after it was written, and it must not be written again (retry=False)."""
        self._end(future, self._unknown(future, f"its channel was lost before the confirm ({text})"), cause)

    def not_written(self, future: PublishFuture, cause: RmqpoolError) -> None:
        """The connection was lost before it was written, and the message is not to wait for the next one."""
        sentence = (
            f"message {future.message.message_id} to {_target(future)} was not sent: {cause}; nothing was written"
        )
        self._end(future, NotSentError(sentence, **future.names()), cause)

    def stranded(self, futures: Iterable[PublishFuture]) -> list[PublishFuture]:
        """An error of ours kept these from their outcome: those that may be written again; the others end as unknown."""
        without = [future for future in futures if future.state == WRITTEN]
        for future in without:
            if not future.retry:
                self._end(future, self._unknown(future, "an error inside rmqpool hid the confirm"))
        return [future for future in without if future.retry]

    def refused(self, future: PublishFuture, error: RmqpoolError) -> None:
        """The broker has never let us in: waiting would not help."""
        if future.attempts:
            return
        sentence = f"message {future.message.message_id} to {_target(future)} was not sent: {error}"
        self._end(future, NotSentError(sentence, **future.names()), error)

    def closed(self, future: PublishFuture) -> None:
        """The pool or publisher was closed under it."""
        if future.nacks and future.nacks == future.attempts:
            self.nacked(future, 0, "")
            return
        if future.attempts:
            self._end(future, self._unknown(future, "the pool was closed before the confirm came"))
            return
        sentence = f"message {future.message.message_id} to {_target(future)} was not sent: the pool was closed"
        self._end(future, NotSentError(sentence, **future.names()))

    def inherited(self, future: PublishFuture) -> None:
        """This process is a fork: the message is the parent's."""
        sentence = "this future was inherited through a fork; the message belongs to the parent process, ask there"
        future.drop_callbacks()
        future.resolve(UnknownOutcomeError(f"message {future.message.message_id}: {sentence}", **future.names()))

    def _refusal(self, future: PublishFuture, refusal: PublishError) -> None:
        """The broker did not take it this time. If an earlier writing got no answer, that one may be stored all the same."""
        if not future.maybe_stored:
            self._end(future, refusal)
            return
        why = f"an earlier writing got no answer, and the last one was refused ({refusal})"
        self._end(future, self._unknown(future, why), refusal)

    def _unknown(self, future: PublishFuture, why: str) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"the outcome of message {future.message.message_id} to {_target(future)} is unknown: it was written "
            f"{future.attempts} time(s), and {why}; publish it again only with the same message_id",
            **future.names(),
        )

    def _why_waiting(self) -> str:
        if not self._link.is_ready:
            return f"connection {self._link.name} is not ready ({self._link.why_not_ready()})"
        why = self._why_no_channel()
        if why:
            return f"its channel is being opened again (the last one was closed: {why})"
        return "its turn did not come (too much is being published, or the network is slow)"

    def _end(self, future: PublishFuture, outcome: PublishError, cause: BaseException | None = None) -> None:
        with self._lock:
            if future.done() or future.state == DONE:
                return
            future.state = DONE  # from here on it cannot be withdrawn
        outcome.__cause__ = cause
        future.set_outcome(outcome)
        self._window.leave(1, future.size)
        future.finish()  # last: a callback may want the place in the window


def _target(future: PublishFuture) -> str:
    message = future.message
    if message.exchange:
        return f"exchange {message.exchange!r} (routing key {message.routing_key!r})"
    return f"queue {message.routing_key!r}"
