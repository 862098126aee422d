"""How a hub's clients get in: they wait for the broker, for a short time, and go to the hub that is for what they do.

I/O thread of the hub's link only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rmqpool.agent.client import Client
from rmqpool.agent.session import SessionState
from rmqpool.amqp.failures import REFUSALS
from rmqpool.version import __version__

if TYPE_CHECKING:
    from rmqpool.agent.hub import Hub

__all__ = ["FORCED", "Entrance", "PlaceOf"]

FORCED = 320  # AMQP's connection-forced
_PATIENCE = 2.0  # seconds that a client waits for the broker before it is told that there is none
_UNKNOWN_BROKER: Mapping[str, Any] = {
    "product": "rmqpool agent",
    "version": __version__,
    "capabilities": {
        "publisher_confirms": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "authentication_failure_close": True,
    },
}
PlaceOf = Callable[[str, "Hub"], "Hub"]


class Entrance:
    """``place_of`` tells the hub for a purpose (Hubs.place_of)."""

    def __init__(self, hub: Hub, place_of: PlaceOf) -> None:
        self._hub = hub
        self._place_of = place_of
        self._waiting: dict[Client, None] = {}

    def greeted(self, client: Client) -> None:
        """Answer with what the broker says of itself, if it can be asked in time."""
        client.deadline = time.monotonic() + _PATIENCE
        if self._hub.properties is not None:
            client.session.start(self._hub.properties)
        else:
            self._wait_for_broker(client)

    def wants_in(self, client: Client) -> None:
        """Let it in where it belongs."""
        place = self._place_of(client.session.purpose, self._hub)
        if place is self._hub:
            self.admit(client)
        else:
            client.pause()  # until it is there; what it has sent with this is still to be read here
            self._hub.link.at_end_of_turn(lambda: self._hand_over(client, place))

    def _hand_over(self, client: Client, place: Hub) -> None:
        if client.is_closed:  # in this turn: it would stay there for ever
            return
        if client.session.state is not SessionState.WAITING:  # it said more, and is to be ended
            client.resume()
            return
        self._hub.let_go(client)
        client.deadline = time.monotonic() + _PATIENCE
        if not place.link.post(lambda: place.take_over(client)):
            self._hub.take_over(client)

    def admit(self, client: Client) -> None:
        """Let it in here, when the broker is there."""
        if self._hub.is_connected or self._hub.gate.is_closed:  # an agent that stops tells so
            self._let_in(client)
        else:
            self._wait_for_broker(client)

    def forget(self, client: Client) -> None:
        """It is gone."""
        self._waiting.pop(client, None)

    def broker_is_there(self) -> None:
        """Let in who waits."""
        for client in tuple(self._waiting):
            self._let_in(client)

    def broker_refuses(self) -> None:
        """Tell who waits."""
        for client in tuple(self._waiting):
            self._not_there(client)

    def _wait_for_broker(self, client: Client) -> None:
        link = self._hub.link
        self._waiting[client] = None
        if isinstance(link.last_error, REFUSALS) and self._hub.properties is None:
            self._not_there(client)
            return
        link.nudge()
        link.call_later(max(0.0, client.deadline - time.monotonic()), lambda: self._not_there(client))

    def _let_in(self, client: Client) -> None:
        self._waiting.pop(client, None)
        if client.session.state is SessionState.GREETED:
            client.session.start(self._hub.properties or _UNKNOWN_BROKER)
        elif self._hub.gate.is_closed:
            client.session.close(FORCED, "CONNECTION_FORCED - the agent stops")
        elif client.session.frame_max != self._hub.frame_max:
            client.session.close(FORCED, "CONNECTION_FORCED - the broker's frames have another size now: come again")
        else:
            client.session.opened(self._hub.link.blocked)

    def _not_there(self, client: Client) -> None:
        if client not in self._waiting or self._hub.is_connected or client.is_closed:
            return
        self._waiting.pop(client)
        if client.session.state is SessionState.GREETED:
            client.session.start(_UNKNOWN_BROKER)
        elif client.session.state is SessionState.WAITING:
            client.session.close(FORCED, self._hub.no_broker)
