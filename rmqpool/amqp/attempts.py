"""The attempts of one link to connect, one at a time. A circuit breaker, if there is one, says when the next may be made.

While it is open, the attempts of all links that share it are its probes: one after each pause, and never sooner than the
link's own pause. What it hears is whether a connection came up. I/O thread only, but for what only looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rmqpool.amqp.connection import Connection
from rmqpool.amqp.connector import Connector
from rmqpool.amqp.io_thread import IOThread
from rmqpool.amqp.purposes import Purpose
from rmqpool.breaker import Breaker
from rmqpool.core.breaker import BreakerState, Pass
from rmqpool.core.reconnect import Reconnect
from rmqpool.errors import CircuitOpenError, ConnectionFailedError, RmqpoolError
from rmqpool.settings import ConnectionSettings

__all__ = ["Attempts", "SharedBreaker"]

_LONGEST = 1.0  # seconds between two looks at a breaker that is open: another link's probe may have closed it
_SHORTEST = 0.01


@dataclass(frozen=True, slots=True)
class SharedBreaker:
    """A circuit breaker around connecting. ``is_patient``: it is told and asked, but callers of this link wait all the same."""

    breaker: Breaker
    is_patient: bool = False


class Attempts:
    """``done`` is called with what each attempt came to, unless it was broken off. ``start`` (0 to 1): which host is first."""

    def __init__(
        self,
        thread: IOThread,
        settings: ConnectionSettings,
        name: str,
        done: Callable[[Connection | ConnectionFailedError], None],
        start: float,
        shared: SharedBreaker | None,
        purpose: Purpose | None,
    ) -> None:
        self._thread = thread
        self._settings = settings
        self._name = name
        self._done = done
        self._purpose = purpose
        self._breaker = None if shared is None else shared.breaker
        self._is_patient = shared is None or shared.is_patient
        first, longest = settings.reconnect_delay, settings.reconnect_max_delay
        self.plan = Reconnect(settings.hosts, first, longest, settings.refused_delay, start)
        self.address = ""
        """Where it went."""
        self._connector: Connector | None = None
        self._pass: Pass | None = None

    @property
    def is_running(self) -> bool:
        """One has begun, and has not ended."""
        return self._connector is not None

    @property
    def is_held(self) -> bool:
        """The breaker is open or half-open, and callers do not wait for a connection now. From any thread."""
        return not self._is_patient and self._breaker is not None and self._breaker.state is not BreakerState.CLOSED

    def refused(self, kind: type[CircuitOpenError], why: str, last_error: RmqpoolError | None) -> CircuitOpenError:
        """What a caller is told while they are held. From any thread."""
        if self._breaker is None:
            raise AssertionError("nothing is held without a circuit breaker")
        return self._breaker.refused(kind, why, last_error)

    def put_off(self) -> float:
        """0.0: an attempt is to begin now. Else the seconds after which to ask again."""
        if self._breaker is None:
            return 0.0
        self._withdraw()
        answer = self._breaker.admit()
        self._pass = answer if isinstance(answer, Pass) else None  # first: what on_change raises must not lose it
        self._breaker.tell()
        if isinstance(answer, Pass):
            return 0.0
        return min(max(answer.wait, _SHORTEST), _LONGEST)

    def begin(self) -> None:
        """Try the next address; only after :meth:`put_off`."""
        host, port = self.plan.next_host()
        self.address = self._settings.socket_path or f"{host}:{port}"
        where = (host, port)
        self._connector = Connector(self._thread, self._settings, where, self._name, self._ended, self._purpose)
        self._connector.start()

    def abort(self) -> None:
        """Break off the one that runs, if there is one: it says nothing of the broker."""
        connector, self._connector = self._connector, None
        self._withdraw()
        if connector is not None:
            connector.abort()

    def _withdraw(self) -> None:
        call, self._pass = self._pass, None
        if call is not None and self._breaker is not None:
            self._breaker.withdraw(call)

    def _ended(self, result: Connection | ConnectionFailedError) -> None:
        self._connector = None
        call, self._pass = self._pass, None
        if call is not None and self._breaker is not None:
            self._breaker.settle(call, result if isinstance(result, ConnectionFailedError) else None)
        self._done(result)
