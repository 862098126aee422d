"""Opens one connection in four stages (DNS, TCP, TLS, AMQP), each with a deadline of its own. I/O thread only.

To an agent there are two: its Unix socket in the place of TCP, and AMQP.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Sequence
from typing import Any

from rmqpool.amqp.agent_failures import agent_failed, agent_timed_out
from rmqpool.amqp.connection import Connection, pika_parameters
from rmqpool.amqp.failures import connection_failed, dns_failed, speaks_tls, stage_timed_out
from rmqpool.amqp.io_thread import IOThread, Timer
from rmqpool.amqp.purposes import Purpose
from rmqpool.amqp.stream import StreamProtocol
from rmqpool.errors import ConnectionFailedError
from rmqpool.settings import ConnectionSettings

__all__ = ["Connector"]

_FULL = 0.02  # seconds until a full queue of connections is tried again


class Connector:
    """One attempt at one host: every address that its name has is tried in turn.

    ``on_done`` gets the open :class:`Connection`, or the error of the last address; exactly once, unless aborted.
    """

    def __init__(
        self,
        thread: IOThread,
        settings: ConnectionSettings,
        address: tuple[str, int],
        name: str,
        on_done: Callable[[Connection | ConnectionFailedError], None],
        purpose: Purpose | None,
    ) -> None:
        self._thread = thread
        self._services = thread.services
        self._settings = settings
        self._host, self._port = address
        self._name = name
        self._purpose = purpose
        self._on_done = on_done
        self._addresses: list[Any] = []
        self._stage = "dns"
        self._task: Any = None
        self._timer: Timer | None = None
        self._again: Timer | None = None
        self._socket: socket.socket | None = None
        self._connection: Connection | None = None
        self._finished = False

    def start(self) -> None:
        """Look the name up anew, then go through the stages."""
        if self._settings.socket_path is not None:
            self._enter("tcp", self._settings.tcp_timeout)
            self._guarded(self._connect_to_agent)(self._settings.socket_path)
            return
        self._enter("dns", self._settings.dns_timeout)
        self._task = self._services.getaddrinfo(
            self._host, self._port, socktype=socket.SOCK_STREAM, on_done=self._guarded(self._on_resolved)
        )

    def abort(self) -> None:
        """Give up without a word; everything opened is closed."""
        self._finished = True
        self._clean_up(RuntimeError("the attempt was given up"))

    # The stages

    def _on_resolved(self, result: Sequence[Any] | BaseException) -> None:
        self._task = None
        if isinstance(result, BaseException):
            self._finish(dns_failed(result, self._host, self._port))
            return
        self._addresses = list(result)
        self._connect_next(None)

    def _connect_to_agent(self, path: str) -> None:
        """At once, or not at all: a Unix socket has no handshake of its own, only a queue that may be full (EAGAIN)."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except BlockingIOError:
            self._close_socket()
            self._again = self._thread.call_later(_FULL, lambda: self._guarded(self._connect_to_agent)(path))
        except OSError as error:
            self._finish(self._failed(error))
        else:
            self._on_connected(None)

    def _connect_next(self, failure: ConnectionFailedError | None) -> None:
        if not self._addresses:
            self._finish(failure or dns_failed(OSError("no address"), self._host, self._port))
            return
        family, kind, protocol, _, address = self._addresses.pop(0)
        self._enter("tcp", self._settings.tcp_timeout)
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._task = self._services.connect_socket(self._socket, address, on_done=self._guarded(self._on_connected))

    def _on_connected(self, error: BaseException | None) -> None:
        self._task = None
        if error is not None:
            self._try_next_address(error)
            return
        context = server_hostname = None
        if self._settings.tls is not None:
            context = self._settings.tls.context()
            server_hostname = self._settings.tls.server_hostname or self._host
            self._enter("tls", self._settings.tls_timeout)
        connected, self._socket = self._socket, None  # the transport owns it from here on
        parameters = pika_parameters(self._settings, self._host, self._port, self._name, self._purpose)
        self._task = self._services.create_streaming_connection(
            protocol_factory=functools.partial(StreamProtocol, Connection(parameters, self._services)),
            sock=connected,
            ssl_context=context,
            server_hostname=server_hostname,
            on_done=self._guarded(self._on_stream),
        )

    def _on_stream(self, result: tuple[Any, Any] | BaseException) -> None:
        self._task = None
        if isinstance(result, BaseException):
            self._finish(self._failed(result))
            return
        self._enter("amqp", self._settings.amqp_timeout)
        connection: Connection = result[1].connection
        self._connection = connection
        connection.add_on_open_error_callback(self._guarded(self._on_handshake_failed), remove_default=False)
        connection.add_on_open_callback(self._guarded(self._on_open))

    def _on_open(self, connection: Connection) -> None:
        self._connection = None
        connection.opened()
        self._finish(connection)

    def _on_handshake_failed(self, connection: Connection, error: BaseException | None) -> None:
        self._connection = None
        if connection.tls_alert:
            self._finish(speaks_tls(self._host, self._port))
        else:
            self._finish(self._failed(connection.stream_error or error, connection.broker_close))

    # Ends

    def _try_next_address(self, error: BaseException) -> None:
        self._close_socket()
        self._connect_next(self._failed(error))

    def _on_timeout(self) -> None:
        self._timer = None
        seconds = {
            "dns": self._settings.dns_timeout,
            "tcp": self._settings.tcp_timeout,
            "tls": self._settings.tls_timeout,
            "amqp": self._settings.amqp_timeout,
        }[self._stage]
        if self._settings.socket_path is not None:
            self._finish(agent_timed_out(self._stage, seconds, self._settings.socket_path))
            return
        failure = stage_timed_out(self._stage, seconds, self._host, self._port)
        if self._stage == "tcp" and self._addresses:
            self._cancel_task()
            self._close_socket()
            self._connect_next(failure)
        else:
            self._finish(failure)

    def _failed(
        self, error: BaseException | None, broker_close: tuple[int, str] | None = None
    ) -> ConnectionFailedError:
        if self._settings.socket_path is not None:
            return agent_failed(error, self._stage, self._settings.socket_path, broker_close)
        return connection_failed(error, self._stage, self._host, self._port, self._settings, broker_close)

    def _finish(self, result: Connection | ConnectionFailedError) -> None:
        if self._finished:
            return
        self._finished = True
        self._clean_up(result if isinstance(result, ConnectionFailedError) else None)
        self._thread.run_contained(lambda: self._on_done(result))

    def _enter(self, stage: str, timeout: float) -> None:
        self._stage = stage
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._thread.call_later(timeout, self._on_timeout)

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """A late answer after the end of the attempt changes nothing; an error fails the attempt, not the I/O loop."""

        def guarded(*arguments: Any) -> None:
            if self._finished:
                return
            try:
                callback(*arguments)
            except Exception as error:  # noqa: BLE001 - it becomes the outcome of the attempt
                self._finish(self._failed(error))

        return guarded

    def _clean_up(self, error: Exception | None) -> None:
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()
        self._timer = self._again = None
        self._cancel_task()
        self._close_socket()
        connection, self._connection = self._connection, None
        if connection is not None and error is not None:
            connection.abort(error)

    def _cancel_task(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def _close_socket(self) -> None:
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()
