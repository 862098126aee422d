"""What newer brokers permit no longer: its use is answered with connection.close (541), and the next connection's is too.

https://www.rabbitmq.com/docs/deprecated-features. RabbitMQ 4.3 denies ``transient_nonexcl_queues`` by default, any other 4.x
where ``deprecated_features.permit.transient_nonexcl_queues = false`` says so. (``global_qos``, where it is denied, is taken
as a prefetch of each consumer, without a word.) Pure; nothing is asked of the broker.
"""

from __future__ import annotations

from typing import Final

from rmqpool.errors import ChannelClosedError, ConnectionLostError, RmqpoolError
from rmqpool.topology import Queue, Topology

__all__ = ["NOT_PERMITTED", "is_transient", "not_permitted"]

NOT_PERMITTED: Final = 541
"""The reply code (AMQP's internal-error) of the connection.close."""

_FEATURE: Final = "transient_nonexcl_queues"


def not_permitted(error: RmqpoolError, during: str) -> ChannelClosedError | None:
    """The error of declaring a transient queue if the connection was lost because the broker permits none; else None.

    ``error`` is what that queue.declare ended with, ``during`` names the queue.
    """
    if not isinstance(error, ConnectionLostError) or f"`{_FEATURE}` is deprecated" not in str(error):
        return None
    return ChannelClosedError(
        f"{during}: this broker permits no queue that is neither durable nor exclusive ({NOT_PERMITTED}, {_FEATURE}): declare "
        "it with durable=True (and with expires=, if it is to go away) or with exclusive=True; or permit it on the broker "
        f"for now (deprecated_features.permit.{_FEATURE} = true)",
        code=NOT_PERMITTED,
        text=str(error),
    )


def is_transient(item: Topology) -> bool:
    """True for a queue of the kind that such a broker does not permit."""
    return isinstance(item, Queue) and not (item.durable or item.exclusive or item.passive)
