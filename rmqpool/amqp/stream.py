"""Between pika's transport and a connection: what pika would swallow is kept, so that an error can name its cause."""

from __future__ import annotations

import ssl
from typing import Any

from rmqpool.amqp.connection import Connection

__all__ = ["StreamProtocol"]

_TLS_ALERT = b"\x15\x03"  # RFC 8446, 5.1: record type alert, major version 3; no AMQP frame begins like this


class StreamProtocol:
    """The four methods that pika's transports call. Reading goes straight to the connection after the first bytes."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._transport: Any = None
        self.eof_received = connection._proto_eof_received
        self.data_received = self._first_data

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.connection._proto_connection_made(transport)

    def connection_lost(self, error: BaseException | None) -> None:
        self.connection.stream_error = self._unread_alert(error) or error
        self._transport = None
        self.connection._proto_connection_lost(error)

    def _first_data(self, data: bytes) -> None:
        self.data_received = self.connection._proto_data_received
        self.connection.tls_alert = data.startswith(_TLS_ALERT)
        self.data_received(data)

    def _unread_alert(self, error: BaseException | None) -> ssl.SSLError | None:
        """A write failed because the peer hung up; why it did is often still to be read (TLS 1.3: after the handshake)."""
        opened = getattr(self._transport, "_sock", None)
        if not isinstance(error, OSError) or not isinstance(opened, ssl.SSLSocket):
            return None
        try:
            opened.recv(1)
        except ssl.SSLError as alert:
            return alert if alert.reason and "ALERT" in alert.reason else None
        except (OSError, ValueError):
            return None
        return None
