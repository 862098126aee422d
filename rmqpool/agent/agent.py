"""The agent: a socket that clients come to, and a few links that they share."""

from __future__ import annotations

import logging
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rmqpool.agent.hub import Hub
from rmqpool.agent.hubs import Hubs
from rmqpool.agent.lessons import Lessons
from rmqpool.agent.options import AgentOptions
from rmqpool.agent.peers import peer_of, refusal_of
from rmqpool.agent.refusal import RefusalListener
from rmqpool.agent.socket_file import SocketFile
from rmqpool.agent.stats import AgentStats
from rmqpool.agent.violation import Violation
from rmqpool.amqp.link import Link
from rmqpool.amqp.purposes import Purpose
from rmqpool.amqp.wire_support import why_slow
from rmqpool.errors import ConfigurationError, ConnectionFailedError
from rmqpool.settings import ConnectionSettings

__all__ = ["Agent"]

_LOGGER = logging.getLogger("rmqpool")
_AT_ONCE = 64  # connections accepted in one turn
_REST = 0.2  # seconds without accepting, when there are no descriptors left
_SPARE_FILES = 128
_GOODBYE = 5.0  # seconds, beyond the grace period
_OVER = 64  # clients above the limit that are still told so


class Agent:
    """Listens as soon as it is made. :meth:`stop` and :meth:`stats` are thread-safe. A context manager.

    Raises ConfigurationError if it cannot listen, or cannot run here at all.
    """

    def __init__(self, settings: ConnectionSettings, options: AgentOptions) -> None:
        _check_platform(settings)
        self._options = options.with_own_user()
        _provide_files(options.max_clients)
        self._file = SocketFile(options)
        name = settings.connection_name or f"rmqpool agent {socket.gethostname()}:{os.getpid()}"[:200]
        lessons = Lessons()

        def make(purpose: Purpose, number: int) -> Hub:
            shown = f"{number}" if purpose is Purpose.PUBLISH else purpose
            link = Link(settings, f"{name}-{shown}", purpose=purpose)
            return Hub(link, self._options, lessons, lambda wanted, there: self._hubs.place_of(wanted, there))

        self._hubs = Hubs(make, options.connections)
        self._links = [hub.link for hub in self._hubs.publishing]
        self._listening: Any = None
        self._stopping = threading.Lock()
        self._stopped: bool | None = None
        try:
            for link in self._links:
                link.start()
        except BaseException:
            self._file.remove()
            _close(self._links, 1.0)
            raise
        self._links[0].post(self._listen)
        _LOGGER.info(
            "the agent listens at %s (mode %04o) for %s, with %d connections",
            options.socket_path,
            options.file_mode,
            settings.redacted_url(),
            options.connections,
        )

    @property
    def is_ready(self) -> bool:
        """Every connection to the broker that was needed so far is up."""
        return all(hub.link.is_ready for hub in self._hubs.needed)

    @property
    def was_ready(self) -> bool:
        """Every connection for publishing has been up at least once."""
        return all(link.status().epoch > 0 for link in self._links)

    @property
    def refusal(self) -> ConnectionFailedError | None:
        """Why the broker lets none of its connections in and never has (password, virtual host, TLS); None if that is not so."""
        refusals = [link.refusal for link in self._links]
        return refusals[0] if all(refusals) else None

    def on_refusal(self, function: Callable[[], None]) -> None:
        """Call ``function`` as soon as there is a :attr:`refusal`, on an I/O thread, and maybe more than once. Thread-safe."""
        listener = RefusalListener(lambda: function() if self.refusal is not None else None)
        for link in self._links:
            link.attach(listener)

    @property
    def why_not_ready(self) -> str:
        """A clause for each connection that is not up."""
        links = [hub.link for hub in self._hubs.needed]
        return "; ".join(f"{link.name}: {link.why_not_ready()}" for link in links if not link.is_ready)

    def stats(self) -> AgentStats:
        """Of all its connections together."""
        return sum((hub.stats() for hub in self._hubs.all), AgentStats())

    def stop(self, timeout: float | None = None) -> bool:
        """Take nothing more, wait at most ``timeout`` seconds (None: the option) for the broker's answers, then end.

        True if every publish that was forwarded was answered. Idempotent.
        """
        with self._stopping:
            if self._stopped is None:
                self._stopped = self._stop(self._options.grace if timeout is None else timeout)
        return self._stopped

    def _stop(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        told = self.stats()
        _LOGGER.info("the agent stops: %s", told)
        unheard = threading.Event()

        def close_listener() -> None:
            self._close_listener()
            unheard.set()

        if not self._links[0].post(close_listener) or not unheard.wait(_GOODBYE):
            self._close_listener()
        missing: list[int] = []
        done = threading.Semaphore(0)

        def on_done(count: int) -> None:
            missing.append(count)
            done.release()

        hubs = self._hubs.close()
        for hub in hubs:
            hub.drain(deadline, on_done)
        clean = all(done.acquire(timeout=max(0.0, deadline - time.monotonic()) + _GOODBYE) for _ in hubs)
        clean = _close([hub.link for hub in hubs], _GOODBYE) and clean
        if sum(missing):
            _LOGGER.warning("the agent has stopped; %d publishes had no answer within %g s", sum(missing), timeout)
        else:
            _LOGGER.info("the agent has stopped: every publish that was forwarded is answered")
        return clean and not sum(missing)

    # The listener, on the first link's I/O thread

    def _listen(self) -> None:
        if self._file.socket.fileno() < 0:
            return
        loop = self._links[0].loop
        if loop is not self._listening:  # a fault replaces it
            loop.add_handler(self._file.socket.fileno(), lambda _file, _events: self._accept(), loop.READ)
            self._listening = loop
        self._links[0].call_later(1.0, self._listen)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connected, _ = self._file.socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                _LOGGER.error("no client can be accepted for now: %s", error.strerror)
                self._pause_listening()
                return
            try:
                self._welcome(connected)
            except OSError:
                connected.close()  # it is gone again

    def _welcome(self, connected: socket.socket) -> None:
        peer = peer_of(connected)
        refused = refusal_of(peer, self._options)
        count = sum(hub.clients for hub in self._hubs.all)
        if count >= self._options.max_clients:
            if count >= self._options.max_clients + _OVER:
                connected.close()
                return
            refused = refused or Violation(
                506, f"RESOURCE_ERROR - the agent serves {count} clients already: start it with more --max-clients"
            )
        min(self._hubs.publishing, key=lambda hub: hub.load).adopt(connected, peer, refused)

    def _pause_listening(self) -> None:
        self._listening.remove_handler(self._file.socket.fileno())
        self._listening = None
        self._links[0].call_later(_REST, self._listen)

    def _close_listener(self) -> None:
        if self._listening is not None and self._file.socket.fileno() >= 0:
            self._listening.remove_handler(self._file.socket.fileno())
        self._listening = None
        self._file.remove()

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Agent {self._options.socket_path}: {self.stats()}>"


def _close(links: list[Link], timeout: float) -> bool:
    """All at once, so that a broker that does not answer takes the time of one; True if all ended within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    for link in links:
        link.close_soon()
    ended = [link.close(max(0.1, deadline - time.monotonic())) for link in links]
    return all(ended)


def _check_platform(settings: ConnectionSettings) -> None:
    if settings.socket_path is not None:
        raise ConfigurationError("an agent connects to a broker: give it an amqp:// or amqps:// URL")
    if not (hasattr(select, "epoll") and hasattr(socket, "SO_PEERCRED")):
        raise ConfigurationError("an agent runs on Linux only (epoll, SO_PEERCRED)")
    reason = why_slow()
    if reason:
        raise ConfigurationError(f"the agent needs rmqpool's own reading of frames, which is off: {reason}")


def _provide_files(clients: int) -> None:
    """Descriptors for that many clients."""
    wanted = clients + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ConfigurationError(
                f"{clients} clients need {wanted} open files, and the limit is {hard}: raise it (systemd: LimitNOFILE=), or "
                "lower --max-clients"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
