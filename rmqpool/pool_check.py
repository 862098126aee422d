"""Asking whether a pool works: a round trip on its connections, and the verdict from its figures."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from rmqpool.amqp.channel import BlockingChannel, open_channel
from rmqpool.amqp.link import Link, LinkState, LinkStatus
from rmqpool.core.verdict import ChannelFacts, ConnectionFacts, PoolFacts, PoolHealth, judge
from rmqpool.errors import CallTimeoutError, PoolClosedError, RmqpoolError
from rmqpool.looks import Looks as EarlierLooks
from rmqpool.pool_stats import ChannelStats, PoolStats

__all__ = ["Looks", "facts_of", "round_trip"]


def round_trip(links: Iterable[Link], deadline: float) -> float:
    """Open a channel on each link and close it, all at once, by ``deadline`` (monotonic); the longest took so many seconds.

    A link that the broker blocks is passed over: the broker reads nothing from it. Raises what ``wait_ready`` raises,
    CallTimeoutError for a connection that does not answer. Blocks; for any thread but an I/O thread.
    """
    answers: list[tuple[Link, Future[float]]] = []
    for link in links:
        link.nudge()
        try:
            link.wait_ready(deadline)
        except PoolClosedError:
            continue  # replaced meanwhile
        if link.blocked is None:
            answers.append((link, _ask(link)))
    return max((_answer(link, answer, deadline) for link, answer in answers), default=0.0)


def _ask(link: Link) -> Future[float]:
    answer: Future[float] = Future()
    began = time.monotonic()

    def done(result: BlockingChannel | RmqpoolError) -> None:
        if isinstance(result, BlockingChannel):
            result.close()
            answer.set_result(time.monotonic() - began)
        else:
            answer.set_exception(result)

    open_channel(link, done)
    return answer


def _answer(link: Link, answer: Future[float], deadline: float) -> float:
    began = time.monotonic()
    try:
        return answer.result(max(0.0, deadline - began))
    except PoolClosedError:
        return 0.0
    except FutureTimeoutError as error:
        if isinstance(error, RmqpoolError):
            raise
        if link.blocked is not None or link.ended:
            return 0.0
        raise CallTimeoutError(
            f"connection {link.name} to {link.status().address} did not answer within the time: the broker or the "
            "network is slow, or gone; rmqpool doctor tells more"
        ) from None


class Looks(EarlierLooks[PoolStats]):
    """What a pool was like when its health was asked for before. Thread-safe."""

    def judge(self, stats: PoolStats, closed: bool, timeout: float) -> PoolHealth:
        """The verdict on what came since an earlier look, one that is at least 30 s ago; otherwise since the first."""
        earlier, seconds = self.compare(stats)
        return judge(facts_of(stats, earlier, closed, seconds, timeout))


def facts_of(stats: PoolStats, earlier: PoolStats | None, closed: bool, seconds: float, timeout: float) -> PoolFacts:
    """From figures to what is judged: ``earlier`` ones are ``seconds`` old (None: there was nothing yet)."""
    channels, lately = stats.channels, stats.since(earlier).channels
    epochs = {} if earlier is None else {status.name: status.epoch for status in earlier.connections}
    return PoolFacts(
        connections=tuple(_connection(status) for status in stats.connections),
        channels=_channels(channels, lately) if channels is not None and lately is not None else None,
        closed=closed,
        unsettled=stats.unsettled,
        window=stats.window,
        recent_reconnects=max((one.epoch - epochs.get(one.name, 1) for one in stats.connections), default=0),
        seconds=seconds,
        timeout=timeout,
    )


def _connection(status: LinkStatus) -> ConnectionFacts:
    return ConnectionFacts(
        status.name,
        ready=status.state is LinkState.READY,
        refused=status.state is LinkState.REFUSED,
        blocked=status.blocked,
        last_error=str(status.last_error or ""),
        connected_before=status.epoch > 0,
    )


def _channels(stats: ChannelStats, recent: ChannelStats) -> ChannelFacts:
    return ChannelFacts(
        capacity=stats.capacity,
        leased=stats.leased,
        waiting=stats.waiting,
        max_waiting=stats.max_waiting,
        longest_wait=stats.longest_wait,
        longest_lease=stats.longest_lease,
        overdue=stats.overdue,
        recent_granted=recent.granted,
        recent_timed_out=recent.timed_out,
        recent_refused=recent.refused,
        recent_dropped=recent.dropped,
        recent_wait=recent.wait_time.quantile(0.95),
        recent_use=recent.use_time.mean,
        recent_away=recent.away,
    )
