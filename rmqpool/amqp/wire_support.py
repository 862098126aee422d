"""Whether this pika is one that the fast path was tested with. If not, every frame goes through pika's own, slower path.

The fast path needs private names of pika's connection; a patch release may move them. ``RMQPOOL_WIRE=pika`` chooses pika's
own path by hand, to find out whether the fast one is to blame for something.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

import pika

__all__ = [
    "PRIVATE_NAMES",
    "TESTED_VERSIONS",
    "TRANSPORT_NAMES",
    "may_use_fast_path",
    "refusal",
    "usable_transport",
    "why_slow",
]

_LOGGER = logging.getLogger("rmqpool")
_ASKED_FOR = "RMQPOOL_WIRE=pika asks for it"
TESTED_VERSIONS = ("1.4.1", "1.4.2", "1.4.4")
PRIVATE_NAMES = ("_adapter_emit_data", "_on_data_available", "_process_frame")
TRANSPORT_NAMES = ("_on_socket_readable", "get_write_buffer_size")  # for reading and writing past pika's transport


def refusal(version: str, chosen: str, connection: Any) -> str:
    """Why the fast path is not used with this pika (``version``, its connection class); empty: it is. Pure.

    ``chosen`` is the value of RMQPOOL_WIRE: ``pika``, or empty.
    """
    if chosen.strip().lower() == "pika":
        return _ASKED_FOR
    if version not in TESTED_VERSIONS:
        return f"the fast path was tested with pika {', '.join(TESTED_VERSIONS)}, and this is {version}"
    gone = [name for name in PRIVATE_NAMES if not callable(getattr(connection, name, None))]
    return f"this pika has no {', '.join(gone)} any more" if gone else ""


def why_slow() -> str:
    """Why connections of this process will not use the fast path; empty: they will."""
    return refusal(pika.__version__, os.environ.get("RMQPOOL_WIRE", ""), pika.SelectConnection)


def may_use_fast_path(connection: Any) -> bool:
    """Whether ``connection`` (pika's class) may be read and written by our own code; says once in the log if not."""
    chosen = os.environ.get("RMQPOOL_WIRE", "")
    if chosen.strip().lower() not in ("", "pika"):
        _warn_once(chosen)
    reason = refusal(pika.__version__, chosen, connection)
    if reason:
        _say_once(reason)
    return not reason


def usable_transport(transport: Any) -> Any:
    """pika's class of plain transports, if its socket can be read and written past it; else None: it is gone through."""
    return transport if all(callable(getattr(transport, name, None)) for name in TRANSPORT_NAMES) else None


@functools.cache
def _warn_once(chosen: str) -> None:
    _LOGGER.warning(
        "RMQPOOL_WIRE is %r, which means nothing: it may be pika, or not set; the fast path is used", chosen
    )


@functools.cache
def _say_once(reason: str) -> None:
    level = logging.INFO if reason == _ASKED_FOR else logging.WARNING
    _LOGGER.log(level, "messages go through pika's own, slower path: %s", reason)
