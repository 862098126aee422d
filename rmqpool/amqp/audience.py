"""Who is told what happens to a link: the actors that stand on it, and one listener for events. I/O thread only."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rmqpool.amqp.connection import Connection
from rmqpool.amqp.link_values import Actor, LinkEvent
from rmqpool.errors import ConnectionFailedError, RmqpoolError

__all__ = ["Audience"]

_LOGGER = logging.getLogger("rmqpool")


class Audience:
    """Tells everybody; an actor that leaves while others are being told is no trouble."""

    def __init__(self, name: str, on_event: Callable[[LinkEvent, str, str], None]) -> None:
        self._name = name
        self._on_event = on_event
        self._actors: list[Actor] = []

    def add(self, actor: Actor) -> None:
        """It hears everything from here on."""
        self._actors.append(actor)

    def remove(self, actor: Actor) -> None:
        """It hears nothing more."""
        if actor in self._actors:
            self._actors.remove(actor)

    def up(self, connection: Connection, epoch: int) -> None:
        """A connection is open."""
        for actor in tuple(self._actors):
            actor.link_up(connection, epoch)

    def down(self, error: RmqpoolError) -> None:
        """The connection is gone. One that fails while it is told must not keep the others from hearing it."""
        for actor in tuple(self._actors):
            try:
                actor.link_down(error)
            except Exception:
                _LOGGER.exception("%r failed while it was told that its connection is gone", actor)

    def blocked(self, reason: str) -> None:
        """The broker takes no messages for now."""
        for actor in tuple(self._actors):
            actor.link_blocked(reason)

    def unblocked(self) -> None:
        """The broker takes messages again."""
        for actor in tuple(self._actors):
            actor.link_unblocked()

    def refused(self, error: ConnectionFailedError) -> None:
        """The broker does not let us in."""
        for actor in tuple(self._actors):
            actor.link_refused(error)

    def end(self, error: RmqpoolError) -> None:
        """The link is closed: the last word to everybody."""
        self.down(error)
        self._actors.clear()

    def event(self, event: LinkEvent, sentence: str) -> None:
        """Tell the listener; what it raises is its own affair."""
        try:
            self._on_event(event, self._name, sentence)
        except BaseException:  # SystemExit too: it must not end the I/O thread
            _LOGGER.exception("an event listener failed")
