"""How a pool is doing, why, and what to do: decided from its figures alone. Pure.

Each rule looks at one thing and may give a ``Symptom``. The verdict is the worst of them; of equals the one whose rule
stands first, because it is the cause of those behind it: without a connection everybody waits.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "RESOURCES",
    "ChannelFacts",
    "ConnectionFacts",
    "OpeningFacts",
    "PoolFacts",
    "PoolHealth",
    "PoolState",
    "Symptom",
    "Words",
    "judge",
]


class PoolState(enum.StrEnum):
    """``ok``; ``degraded``: it works, and somebody should look; ``down``: nobody gets anything from it."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Symptom:
    """One thing that is wrong. ``kind`` is a short stable word, ``reason`` and ``recommendation`` are sentences."""

    kind: str
    state: PoolState
    reason: str
    recommendation: str


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """The verdict: the worst symptom's words, and all ``symptoms``, the worst first."""

    state: PoolState
    kind: str
    reason: str
    recommendation: str
    symptoms: tuple[Symptom, ...] = ()

    @property
    def ready(self) -> bool:
        """Not down: for readiness. A degraded pool still serves; to take it away would hurt those that are left."""
        return self.state is not PoolState.DOWN

    def as_json(self) -> dict[str, str]:
        """For probes and ``--json``; without the symptoms behind the worst one."""
        return {
            "state": str(self.state),
            "kind": self.kind,
            "reason": self.reason,
            "recommendation": self.recommendation,
        }

    def __str__(self) -> str:
        told = f"{self.state}: {self.reason}"
        return f"{told}; {self.recommendation}" if self.recommendation else told


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """A connection of a pool. ``blocked`` is the broker's reason or None; ``refused``: the broker does not let us in."""

    name: str
    ready: bool
    refused: bool = False
    blocked: str | None = None
    last_error: str = ""
    connected_before: bool = True


@dataclass(frozen=True, slots=True)
class Words:
    """What is leased, in the plural, and the setting that bounds how many."""

    leased: str = "channels"
    setting: str = "channels_per_connection"


RESOURCES = Words("resources", "max_size")


@dataclass(frozen=True, slots=True)
class OpeningFacts:
    """How the opening of resources goes. ``wanted``: that many are to be opened now, tried again ones too.

    ``failures_in_a_row`` and ``last_error`` since the last success. ``recent_…``: within the time that is looked at; of the
    opens, 95 % took no longer than ``recent_create`` seconds. ``lost`` resources were found dead.
    """

    size: int = 0
    wanted: int = 0
    failures_in_a_row: int = 0
    last_error: str = ""
    recent_lost: int = 0
    recent_opened: int = 0
    recent_create: float = 0.0


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """Leased channels, or resources. Times in seconds. From ``recent_granted`` on: within the time that is looked at.

    ``recent_away``: of those that timed out or were refused, how many had no connection, or a blocked one: no number of
    channels helps them.
    """

    capacity: int
    leased: int = 0
    waiting: int = 0
    max_waiting: int = 0
    longest_wait: float = 0.0
    longest_lease: float = 0.0
    overdue: int = 0
    recent_granted: int = 0
    recent_timed_out: int = 0
    recent_refused: int = 0
    recent_dropped: int = 0
    recent_wait: float = 0.0  # 95 % waited no longer
    recent_use: float = 0.0  # a lease, on average
    words: Words = Words()
    recent_away: int = 0

    @property
    def recent_lost(self) -> int:
        """Callers that got no channel although there was a connection."""
        return max(0, self.recent_timed_out + self.recent_refused - self.recent_away)


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What a pool is judged by. ``seconds`` is the time that is looked at, ``timeout`` the pool's, in seconds.

    ``recent_reconnects``: of the connection that was opened again most often. All of them once is one restart of the broker.
    """

    connections: tuple[ConnectionFacts, ...] = ()
    channels: ChannelFacts | None = None
    closed: bool = False
    unsettled: int = 0
    window: int = 0
    recent_reconnects: int = 0
    seconds: float = 60.0
    timeout: float = 30.0
    opening: OpeningFacts | None = None  # of pools that are no AMQP pools


def judge(facts: PoolFacts) -> PoolHealth:
    """The verdict on a pool."""
    found = [symptom for rule in _RULES if (symptom := rule(facts)) is not None]
    found.sort(key=lambda symptom: _WORST_FIRST.index(symptom.state))  # stable: the rules' order stays
    if not found:
        return PoolHealth(PoolState.OK, "ok", _well(facts), "")
    worst = found[0]
    return PoolHealth(worst.state, worst.kind, worst.reason, worst.recommendation, tuple(found))


_WORST_FIRST = (PoolState.DOWN, PoolState.DEGRADED, PoolState.OK)
_FLAPPING = 3  # reconnects of one connection, or lost resources, within the time that is looked at
_LONG_WAIT = 0.25  # of the timeout: who waits longer than that for a channel is near to failing
_FULL = 0.9  # of the window of publishes
_SPARE = 1.25  # channels recommended beyond what the rate needs


def _well(facts: PoolFacts) -> str:
    if facts.opening is not None:
        return "resources can be opened, and nobody waits for long" if facts.opening.size else "nothing is open now"
    if not facts.connections:
        return "no connection was needed yet"
    return "every connection is ready, and nobody waits for long"


def _closed(facts: PoolFacts) -> Symptom | None:
    if not facts.closed:
        return None
    return Symptom("closed", PoolState.DOWN, "the pool is closed", "open a new one")


def _refused(facts: PoolFacts) -> Symptom | None:
    refused = [connection for connection in facts.connections if connection.refused and not connection.ready]
    if not refused:
        return None
    first = refused[0]
    return Symptom(
        "refused",
        PoolState.DOWN,
        f"the broker does not let connection {first.name} in: {first.last_error}",
        "correct the URL, the password or the permissions; rmqpool doctor tells which",
    )


def _disconnected(facts: PoolFacts) -> Symptom | None:
    waiting = [one for one in facts.connections if not one.ready and not one.refused]
    if not waiting:
        return None
    state = PoolState.DEGRADED if any(one.ready for one in facts.connections) else PoolState.DOWN
    first = waiting[0]
    because = f": {first.last_error}" if first.last_error else ""
    doing = "is opened again" if first.connected_before else "is not open yet"
    return Symptom(
        "reconnecting",
        state,
        f"{len(waiting)} of {len(facts.connections)} connections are not ready; {first.name} {doing}{because}",
        "the pool goes on trying: look whether the broker and the network are up (rmqpool doctor)",
    )


def _unopened(facts: PoolFacts) -> Symptom | None:
    opening = facts.opening
    if opening is None or not opening.failures_in_a_row:
        return None
    # Down only while somebody needs one: a pool that is not used tries nothing, and could not tell that all is well again.
    nobody_gets_one = opening.size == 0 and opening.wanted > 0
    return Symptom(
        "unopened",
        PoolState.DOWN if nobody_gets_one else PoolState.DEGRADED,
        f"the last {opening.failures_in_a_row} opens failed, the last one with {opening.last_error or 'an error'}; "
        f"{opening.size} resources are open",
        "look whether the server is up and lets you in; the pool goes on trying while somebody needs a resource",
    )


def _losing(facts: PoolFacts) -> Symptom | None:
    opening = facts.opening
    if opening is None or opening.recent_lost < _FLAPPING:
        return None
    return Symptom(
        "flapping",
        PoolState.DEGRADED,
        f"{opening.recent_lost} resources were found dead within {facts.seconds:.0f} s",
        "look for the reason in the server's log; if it closes what is idle, set max_idle and max_lifetime below its limits, "
        "and check_after_idle",
    )


def _blocked(facts: PoolFacts) -> Symptom | None:
    reason = next((one.blocked for one in facts.connections if one.blocked is not None), None)
    if reason is None:
        return None
    return Symptom(
        "blocked",
        PoolState.DEGRADED,
        f"the broker blocks publishing: {reason}",
        "free memory or disk of the broker (rabbitmq-diagnostics alarms); publishes wait until their deadlines, or until "
        "blocked_timeout",
    )


def _flapping(facts: PoolFacts) -> Symptom | None:
    if facts.recent_reconnects < _FLAPPING:
        return None
    return Symptom(
        "flapping",
        PoolState.DEGRADED,
        f"a connection was opened again {facts.recent_reconnects} times within {facts.seconds:.0f} s",
        "look for the reason in the broker's log: a proxy's idle timeout below the heartbeat, a broker that restarts, "
        "handlers that hold the GIL",
    )


def _leaking(facts: PoolFacts) -> Symptom | None:
    channels = facts.channels
    if channels is None:
        return None
    what = channels.words.leased
    recommendation = f"lease {what} in a with block; leak_after=… reports who holds them, with the borrower's stack"
    if channels.recent_dropped:
        told = f"{channels.recent_dropped} leased {what} were dropped without release"
        return Symptom("leak", PoolState.DEGRADED, told, recommendation)
    if channels.overdue:
        told = f"{channels.overdue} {what} are held for longer than leak_after, the longest for {channels.longest_lease:.1f} s"
        return Symptom("leak", PoolState.DEGRADED, told, recommendation)
    if _somebody_waits(channels) and channels.longest_lease > facts.timeout:
        told = f"callers wait while one of the {what} is held for {channels.longest_lease:.1f} s already"
        return Symptom("leak", PoolState.DEGRADED, told, recommendation)
    return None


def _saturated(facts: PoolFacts) -> Symptom | None:
    channels = facts.channels
    if channels is None or not _is_saturated(channels, facts.timeout):
        return None
    return Symptom(
        "saturated",
        PoolState.DEGRADED,
        f"{channels.leased} of {channels.capacity} {channels.words.leased} are leased and {channels.waiting} callers wait, the "
        f"first for {channels.longest_wait:.1f} s; within {facts.seconds:.0f} s {channels.recent_timed_out} gave up, "
        f"{channels.recent_refused} were refused, and 95 % waited up to {channels.recent_wait:.2g} s",
        _more_channels(channels, facts),
    )


def _is_saturated(channels: ChannelFacts, timeout: float) -> bool:
    recent_wait = (
        0.0 if channels.recent_away else channels.recent_wait
    )  # who was served later waited for a connection, too
    long_wait = max(channels.longest_wait, recent_wait) > _LONG_WAIT * timeout
    return (channels.recent_lost > 0 and channels.leased > 0) or (long_wait and _somebody_waits(channels))


def _somebody_waits(channels: ChannelFacts) -> bool:
    return channels.waiting > 0 or channels.recent_lost > 0


def _more_channels(channels: ChannelFacts, facts: PoolFacts) -> str:
    """Little's law: as many channels are in use as are asked for in a second, times the seconds that each is held."""
    asked = channels.recent_granted + channels.recent_lost + channels.waiting
    rate = asked / max(1.0, facts.seconds)
    needed = math.ceil(_SPARE * rate * channels.recent_use)
    what, setting, opening = channels.words.leased, channels.words.setting, facts.opening
    if opening is not None and channels.leased < channels.capacity:
        took = f" ({opening.recent_create:.2g} s each)" if opening.recent_opened else ""
        return f"opening is what they wait for{took}: raise min_size, or growth, so that more are opened at a time"
    if needed > channels.capacity:
        return (
            f"raise {setting} from {channels.capacity} to {needed} ({rate:.3g} leases a "
            f"second, held for {channels.recent_use:.2g} s each), or hold {what} for less time"
        )
    if channels.recent_refused and not channels.recent_timed_out:
        return f"raise max_waiting from {channels.max_waiting}: callers come in bursts, and {what} come back in time"
    return f"raise {setting} from {channels.capacity}, or hold {what} for less time"


def _window_full(facts: PoolFacts) -> Symptom | None:
    if not facts.window or facts.unsettled < _FULL * facts.window:
        return None
    return Symptom(
        "window",
        PoolState.DEGRADED,
        f"{facts.unsettled} of {facts.window} messages are without an outcome: publishers wait for the broker's confirms",
        "publish more slowly, or find why the broker confirms slowly (disk, a queue far behind); a larger window only "
        "makes the wait longer",
    )


_RULES: tuple[Callable[[PoolFacts], Symptom | None], ...] = (
    _closed,
    _refused,
    _disconnected,
    _unopened,
    _blocked,
    _flapping,
    _losing,
    _leaking,
    _saturated,
    _window_full,
)
