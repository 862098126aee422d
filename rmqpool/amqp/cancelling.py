"""Ending subscriptions without what pika adds to it. For the I/O thread.

The broker may send deliveries until it answers basic.cancel (AMQP 0-9-1, 1.8.3.5). pika rejects those by itself: they would
go back before what came first, and a quorum queue would count each as one delivery that failed.

And pika cancels every consumer of a channel before it closes it. A queue with a single active consumer would go over to the
next one with that, which would get what is behind the messages that come back a moment later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["cancel_consumer", "close_consuming"]


def cancel_consumer(channel: Any, tag: str, on_cancelled: Callable[[Any], None]) -> None:
    """Cancel on pika's ``channel``; ``on_cancelled`` gets the broker's answer. Until then deliveries come as before."""
    channel.basic_cancel(tag, callback=on_cancelled)
    channel._cancelled.discard(tag)


def close_consuming(channel: Any) -> None:
    """Close pika's ``channel``: its consumers end, and what is unsettled goes back to its queues, in one step."""
    channel._cancelled.update(channel._consumers)
    channel.close()
