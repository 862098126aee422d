"""pika's SelectConnection with what it does not tell: the last byte's time, the broker's own reason for closing, and the
size of what waits to be written. Private names of pika's are used here and in wire.py only; the version is pinned."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pika
from pika import spec
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from rmqpool.amqp.wire import leading_acks
from rmqpool.settings import ConnectionSettings
from rmqpool.version import __version__

__all__ = ["Connection", "pika_parameters"]

_READ_SIZE = 64 * 1024  # bytes


class Connection(pika.SelectConnection):  # type: ignore[misc]  # pika is not typed
    """One AMQP connection; lives and dies on its I/O thread.

    ``last_byte_at`` is the monotonic time of the last bytes read, whole frames or not. ``broker_close`` is the code and
    text of a connection.close that the broker sent, None if it sent none. ``stream_error`` is what ended the stream (pika
    only keeps its text); ``tls_alert``: the peer answered plain AMQP in TLS.
    """

    def __init__(self, parameters: pika.ConnectionParameters, services: SelectorIOServicesAdapter) -> None:
        self.last_byte_at = time.monotonic()
        self.broker_close: tuple[int, str] | None = None
        self.stream_error: BaseException | None = None
        self.tls_alert = False
        self.ack_channel = 0  # the channel whose acks go straight to on_acks; 0: all go through pika
        self.on_acks: Callable[[list[tuple[int, bool]]], None] = lambda acks: None
        super().__init__(
            parameters,
            on_open_error_callback=lambda *_: None,
            custom_ioloop=services,
            internal_connection_workflow=False,
        )
        self.callbacks.add(0, spec.Connection.Close, self._note_broker_close)

    @property
    def unwritten_bytes(self) -> int:
        """Bytes handed to pika that the socket has not taken yet."""
        return 0 if self._transport is None else int(self._get_write_buffer_size())

    @property
    def broker(self) -> str:
        """Product and version, as the broker names itself."""
        properties = self.server_properties or {}
        return f"{properties.get('product', 'unknown broker')} {properties.get('version', '')}".strip()

    def read_in_one_go(self) -> None:
        """One large read a turn of the loop, instead of 4 kB reads until nothing is left. Only for plain TCP.

        What is still unread wakes the (level-triggered) poller again; TLS would keep it in a buffer of its own, unseen.
        """
        if type(self._transport) is _AsyncPlaintextTransport:
            self._transport._MAX_RECV_BYTES = _READ_SIZE
            self._transport._MAX_CONSUME_BYTES = 1

    def write(self, data: bytes) -> None:
        """Write now what the socket takes now; pika would first wait for a turn of its loop to hear that it is writable.

        Only for plain TCP with nothing waiting before it; everything else, errors too, goes through pika's transport.
        """
        self.bytes_sent += len(data)
        transport = self._transport
        if type(transport) is _AsyncPlaintextTransport and transport.get_write_buffer_size() == 0:
            try:
                sent = transport._sock.send(data)
            except OSError:  # not writable, or broken: pika's transport finds out and says so
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self._adapter_emit_data(data)

    def abort(self, error: Exception) -> None:
        """Drop the TCP stream at once, with ``error`` as the reason that the close callbacks get."""
        if not self.is_closed and self._transport is not None:
            self._terminate_stream(error)

    def _on_data_available(self, data: bytes) -> None:
        self.last_byte_at = time.monotonic()
        if self.ack_channel and not self._frame_buffer:
            acks, size = leading_acks(data, self.ack_channel)
            if acks:
                self.bytes_received += size  # pika's heartbeat checker counts these
                self.frames_received += len(acks)
                self.on_acks(acks)
                data = data[size:]
        if data:
            super()._on_data_available(data)

    def _note_broker_close(self, frame: Any) -> None:
        self.broker_close = (frame.method.reply_code, frame.method.reply_text)


def pika_parameters(settings: ConnectionSettings, host: str, port: int, name: str) -> pika.ConnectionParameters:
    """Parameters of one attempt: timeouts of the stages are the connector's, blocking is the link's, not pika's."""
    return pika.ConnectionParameters(
        host=host,
        port=port,
        virtual_host=settings.vhost,
        credentials=pika.PlainCredentials(settings.user, settings.password.reveal()),
        heartbeat=settings.heartbeat,
        frame_max=settings.frame_max,
        channel_max=settings.channel_max,
        blocked_connection_timeout=None,
        client_properties={
            "connection_name": name,
            "product": "rmqpool",
            "version": __version__,
            "information": "a RabbitMQ toolkit for Python services, on pika",
        },
    )
