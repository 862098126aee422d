"""pika's SelectConnection with a reader and a writer of our own, and with what it does not tell: the last byte's time, the
broker's own reason for closing, the size of what waits to be written. pika's private names are used here and in stream.py
only; wire_support.py says with which versions. Without them the connection reads and writes as pika does.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import pika
from pika import spec
from pika.adapters.utils import io_services_utils
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from rmqpool.amqp.epoll_loop import EpollLoop
from rmqpool.amqp.frame_guard import FrameGuard
from rmqpool.amqp.frame_reader import ChannelListener, FrameReader, FrameSink, MalformedFrameError
from rmqpool.amqp.purposes import PURPOSE_PROPERTY, Purpose
from rmqpool.amqp.wire import FRAME_OVERHEAD
from rmqpool.amqp.wire_support import may_use_fast_path, usable_transport
from rmqpool.errors import ConnectionLostError
from rmqpool.settings import ConnectionSettings
from rmqpool.version import __version__

__all__ = ["Connection", "pika_parameters"]

_LOGGER = logging.getLogger("rmqpool")
_READ_SIZE = 256 * 1024  # bytes
_LARGEST_FRAME = 131072  # bytes: RabbitMQ's own frame_max, if none was agreed on
_PLAIN: Any = usable_transport(getattr(io_services_utils, "_AsyncPlaintextTransport", None))


class Connection(pika.SelectConnection):  # type: ignore[misc]  # pika is not typed
    """One AMQP connection; lives and dies on its I/O thread.

    ``last_byte_at`` is the monotonic time of the last bytes read, whole frames or not. ``broker_close`` is the code and
    text of a connection.close that the broker sent, None if it sent none. ``stream_error`` is what ended the stream (pika
    only keeps its text); ``tls_alert``: the peer answered plain AMQP in TLS. ``fast``: frames are read and written by our
    own code, channels can be listened to; False: everything goes through pika.
    """

    def __init__(self, parameters: pika.ConnectionParameters, services: SelectorIOServicesAdapter) -> None:
        self.last_byte_at = time.monotonic()
        self.broker_close: tuple[int, str] | None = None
        self.stream_error: BaseException | None = None
        self.tls_alert = False
        self.fast = may_use_fast_path(pika.SelectConnection)
        self._reader = FrameReader(self._process_frame) if self.fast else None
        self._guard = FrameGuard(_LARGEST_FRAME)
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

    @property
    def body_max(self) -> int:
        """The bytes of a body that fit into one frame, as agreed on with the broker."""
        return int(self.params.frame_max or _LARGEST_FRAME) - FRAME_OVERHEAD

    def opened(self) -> None:
        """The handshake is over: the agreed frame_max counts, and reads are large ones.

        Plain TCP reads once a turn of the loop (what is still unread wakes the level-triggered poller again); TLS reads
        on until nothing is left or a limit is met, because it may keep whole records in a buffer of its own, unseen.
        """
        self._guard.frame_max = int(self.params.frame_max or _LARGEST_FRAME)
        if self._reader is None:
            return
        self._reader.frame_max = self._guard.frame_max
        if self._transport is not None:
            self._transport._MAX_RECV_BYTES = _READ_SIZE
            self._transport._MAX_CONSUME_BYTES = 1 if self._is_plain else _READ_SIZE
        if self._is_plain and isinstance(self.ioloop, EpollLoop):
            self.ioloop.read_with(self._transport._sock.fileno(), self._read)

    def listen(self, channel_number: int, listener: ChannelListener) -> None:
        """Messages and confirms of a channel go to ``listener`` from here on; only if ``fast``."""
        if self._reader is not None:
            self._reader.listen(channel_number, listener)

    def unlisten(self, channel_number: int) -> None:
        """To be called in the channel's close callback, and not before: until then a message may be half read."""
        if self._reader is not None:
            self._reader.unlisten(channel_number)

    def forward(self, sink: FrameSink) -> None:
        """Whole frames of all channels go to ``sink`` instead of pika, which must have none open; only if ``fast``."""
        if self._reader is not None:
            self._reader.forward(sink)

    def write(self, data: bytes) -> None:
        """Write whole frames now, as much as the socket takes now; pika would first wait for a turn of its loop.

        Directly only for plain TCP with nothing waiting before it; everything else, errors too, is left to pika's
        transport, which gets a view: taking a large body apart piece by piece must not copy the rest each time.
        """
        self.bytes_sent += len(data)
        rest = memoryview(data)
        transport = self._transport
        if self._is_plain and transport.get_write_buffer_size() == 0:
            with contextlib.suppress(OSError):  # not writable, or broken: pika's transport finds out and says so
                rest = rest[transport._sock.send(rest) :]
        if rest:
            self._adapter_emit_data(rest)

    def abort(self, error: Exception) -> None:
        """Drop the TCP stream at once, with ``error`` as the reason that the close callbacks get."""
        if self._reader is not None:
            self._reader.stop()
        if not self.is_closed and self._transport is not None:
            self._terminate_stream(error)

    def abort_broken(self, error: Exception, name: str) -> None:
        """As abort(), when pika itself may be broken; ``name`` is for the log."""
        try:
            self.abort(error)
        except Exception:
            _LOGGER.warning("the broken connection %s could not be ended cleanly", name, exc_info=True)
            self.drop_socket()  # or the broker keeps it, and what it delivered there, until the heartbeat fails

    def drop_socket(self) -> None:
        """Close the socket under pika's feet: its loop has ended with an error, and what it would do there never runs."""
        sock = getattr(self._transport, "_sock", None)
        if sock is not None:
            sock.close()

    @property
    def _is_plain(self) -> bool:
        return _PLAIN is not None and type(self._transport) is _PLAIN and hasattr(self._transport, "_sock")

    def _read(self) -> None:
        """The socket is readable: what pika's transport does, without its layers."""
        transport = self._transport
        if transport is None or transport._sock is None:
            return
        try:
            data = transport._sock.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self.abort(error)
            return
        if not data:
            transport._on_socket_readable()  # the end of the stream is pika's
            return
        try:
            self._on_data_available(data)
        except Exception as error:  # noqa: BLE001 - as pika's transport does: whatever it is, this stream is over
            self.abort(error)

    def _on_data_available(self, data: bytes) -> None:
        self.last_byte_at = time.monotonic()
        try:
            if self._reader is not None:
                self.bytes_received += len(data)  # pika's heartbeat checker looks at it
                self._reader.feed(data)
            else:
                self._guard.feed(data)
                super()._on_data_available(data)
        except MalformedFrameError as error:
            self.abort(
                ConnectionLostError(
                    f"what the peer sent is not AMQP: {error}; the connection is given up, and nothing behind that byte is "
                    "believed: look for a proxy in between, or for a broken network"
                )
            )

    def _note_broker_close(self, frame: Any) -> None:
        self.broker_close = (frame.method.reply_code, frame.method.reply_text)


def pika_parameters(
    settings: ConnectionSettings, host: str, port: int, name: str, purpose: Purpose | None
) -> pika.ConnectionParameters:
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
            **({} if purpose is None else {PURPOSE_PROPERTY: str(purpose)}),
        },
    )
