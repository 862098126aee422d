"""What may stand around every message that is handled or published: one small protocol, and how it is run.

Middleware runs where the message is: handling hooks on the handler's thread or event loop, publishing hooks on the
caller's thread and, when the outcome is known, on the connection's I/O thread. So hooks never block for long.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from rmqpool.amqp.wire import encode_properties
from rmqpool.core.ports import ConsumerPort
from rmqpool.errors import ConfigurationError, NotSentError, PublishError
from rmqpool.message import Confirmation, Delivery, Message

__all__ = ["HandlingChain", "Middleware", "PublishingChain", "checked"]

_LOGGER = logging.getLogger("rmqpool")
_HANDLING = ("before_handle", "after_handle", "on_handle_error")
_PUBLISHING = ("before_publish", "after_publish", "on_publish_error")
Sealed = tuple[Message, bytes]  # a message, and its encoded properties
States = list[tuple["Middleware", Any]]


class Middleware:
    """Override what you need. One object serves all messages, from any thread: what belongs to one message is the *state*
    that a ``before_`` hook returns, and that the hook after it gets back.

    ``before_`` hooks run in the order of the list, the others in reverse order, for those whose ``before_`` hook returned.
    """

    def consumer_started(self, consumer: ConsumerPort) -> None:
        """A consumer that this stands around begins; before its first message. What it raises ends the start."""

    def consumer_stopped(self, consumer: ConsumerPort) -> None:
        """That consumer has ended. What it raises is logged only."""

    def before_handle(self, delivery: Delivery) -> Any:
        """Before the body is decoded and the handler called. What it raises is what became of the message:
        :class:`Retry`, :class:`Reject`, :class:`Skip`, :class:`Postpone`, or an error as if the handler had raised it.
        """

    def after_handle(self, delivery: Delivery, state: Any, result: Any) -> None:
        """The handler returned ``result``; the message is not acknowledged yet. What it raises counts as the handler's."""

    def on_handle_error(self, delivery: Delivery, state: Any, error: BaseException) -> BaseException | None:
        """The handler, the decoding or a later hook raised, a verdict perhaps. What it raises itself is logged only.

        An exception that it *returns* takes the place of ``error``: for the message, and for the hooks that follow.
        """
        return None

    def before_publish(self, message: Message) -> Any:
        """The message is checked and encoded; ``headers`` and other properties may be replaced (not changed in place).
        What it raises is raised by publish: nothing is sent.
        """

    def after_publish(self, message: Message, state: Any, confirmation: Confirmation) -> None:
        """The broker confirmed it. On the I/O thread: hand over and return. What it raises is logged only."""

    def on_publish_error(self, message: Message, state: Any, error: PublishError) -> None:
        """Any other outcome, or the message was not taken. What it raises is logged only."""


def checked(middleware: Iterable[Middleware], owner: str) -> tuple[Middleware, ...]:
    """Raises ConfigurationError for what is no middleware: a class instead of an object, mostly."""
    if isinstance(middleware, Middleware | str) or not isinstance(middleware, Iterable):
        raise ConfigurationError(f"{owner}: middleware is {middleware!r}; give a list, as in [Tracing()]")
    found = tuple(middleware)
    for one in found:
        if not isinstance(one, Middleware):
            hint = f"; write {one.__name__}()" if isinstance(one, type) and issubclass(one, Middleware) else ""
            raise ConfigurationError(f"{owner}: {one!r} is no Middleware object{hint}")
        _check_hooks(one, owner)
    return found


def _check_hooks(one: Middleware, owner: str) -> None:
    for name in (*_HANDLING, *_PUBLISHING, "consumer_started", "consumer_stopped"):
        if inspect.iscoroutinefunction(getattr(one, name)):
            raise ConfigurationError(
                f"{owner}: {type(one).__name__}.{name} is async def, and would never run: hooks are plain functions, which "
                "return at once"
            )


class HandlingChain:
    """The hooks around handling. Only middleware that overrides one of them is called."""

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        self._middleware = _with_hooks(middleware, _HANDLING)

    def __bool__(self) -> bool:
        return bool(self._middleware)

    def before(self, delivery: Delivery, states: States) -> None:
        """Run the hooks; ``states`` collects what they return, also when one of them raises."""
        for one in self._middleware:
            states.append((one, one.before_handle(delivery)))

    def after(self, delivery: Delivery, states: States, result: Any) -> None:
        """Run the hooks; one that raised, and those before it, are not called again: what is left hears of the error."""
        while states:
            one, state = states[-1]
            one.after_handle(delivery, state, result)
            states.pop()

    def failed(self, delivery: Delivery, states: States, error: BaseException) -> BaseException:
        """Tell those that have not heard of the end yet; returns the error, or what one of them puts in its place."""
        for one, state in reversed(states):
            try:
                instead = one.on_handle_error(delivery, state, error)
                if issubclass(type(instead), BaseException) and instead is not None:
                    error = instead
            except BaseException:
                _LOGGER.exception("%s failed while it was told of an error", type(one).__name__)
        return error


class PublishingChain:
    """The hooks around publishing; remembers the states of what is on its way. Thread-safe."""

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        self._middleware = _with_hooks(middleware, _PUBLISHING)
        self._open: dict[int, tuple[Message, States]] = {}  # by identity: the message lives as long as its entry

    def __bool__(self) -> bool:
        return bool(self._middleware)

    def before_many(self, sealed: Iterable[Sealed], frame_max: int) -> list[Sealed]:
        """Run the hooks for all messages before the first is written. Raises what one of them raises."""
        done: list[Sealed] = []
        try:
            for message, _ in sealed:
                done.append(self.before(message, frame_max))
        except BaseException as error:
            for message, _ in done:
                self.ended(message, NotSentError(f"nothing was sent: middleware failed at a later message ({error!r})"))
            raise
        return done

    def before(self, message: Message, frame_max: int) -> Sealed:
        """Run the hooks; returns the message and its encoded properties. Raises what one of them raises."""
        states: States = []
        try:
            for one in self._middleware:
                states.append((one, one.before_publish(message)))
            header = encode_properties(message, frame_max)
        except BaseException as error:
            self._tell(message, states, NotSentError(f"nothing was sent: middleware failed ({error!r})"))
            raise
        self._open[id(message)] = (message, states)
        return message, header

    def ended(self, message: Message, outcome: Confirmation | PublishError) -> None:
        """The outcome is known."""
        _, states = self._open.pop(id(message), (message, []))
        self._tell(message, states, outcome)

    def _tell(self, message: Message, states: States, outcome: Confirmation | PublishError) -> None:
        for one, state in reversed(states):
            try:
                if isinstance(outcome, Confirmation):
                    one.after_publish(message, state, outcome)
                else:
                    one.on_publish_error(message, state, outcome)
            except BaseException:
                _LOGGER.exception("%s failed while it was told of an outcome", type(one).__name__)


def _with_hooks(middleware: Sequence[Middleware], names: Sequence[str]) -> tuple[Middleware, ...]:
    return tuple(
        one for one in middleware if any(getattr(type(one), name) is not getattr(Middleware, name) for name in names)
    )
