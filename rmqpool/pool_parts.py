"""What a pool is made of, loaded when a pool is made: importing Publisher and Worker stays quick.

Not later, on a thread: this is everything that I/O threads and the callers of a pool need.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - asyncio loads it on the loop's thread when somebody must wait
import encodings.idna  # noqa: F401 - Python's look-up of host names loads it on whichever thread asks first

from rmqpool.amqp.attempts import SharedBreaker
from rmqpool.amqp.calling import Calling
from rmqpool.amqp.link import Link
from rmqpool.amqp.publishing import Publishing
from rmqpool.amqp.purposes import Purpose
from rmqpool.connection_scaling import ConnectionScaling
from rmqpool.consume_connections import ConsumeConnections
from rmqpool.held_back import refuse_publish, refuse_to_wait
from rmqpool.lease import LeasedChannel
from rmqpool.lease_scaling import LeaseScaling
from rmqpool.leasing import ChannelLeases
from rmqpool.pool_check import Looks, round_trip
from rmqpool.pool_declare import declare_now
from rmqpool.pool_figures import Figures
from rmqpool.pool_stats import PoolStats, channel_stats, pool_stats
from rmqpool.publish_connections import PublishConnection, PublishConnections

__all__ = [
    "Calling",
    "ChannelLeases",
    "ConnectionScaling",
    "ConsumeConnections",
    "Figures",
    "LeaseScaling",
    "LeasedChannel",
    "Link",
    "Looks",
    "PoolStats",
    "PublishConnection",
    "PublishConnections",
    "Publishing",
    "Purpose",
    "SharedBreaker",
    "channel_stats",
    "declare_now",
    "pool_stats",
    "refuse_publish",
    "refuse_to_wait",
    "round_trip",
]
