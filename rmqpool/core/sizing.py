"""How large a pool has to be, and whether all of its copies fit into the server's limits. Pure; each figure has its reason.

- In use on average: rate x hold (J. D. C. Little, "A Proof for the Queuing Formula L = λW", 1961).
- Who has to wait: Erlang's C formula, for arrivals at random and holds of random length (A. K. Erlang, 1917). Steadier load
  waits less, and load in bursts more.
- No deadlock of threads that hold one and wait for another: threads x (each - 1) + 1 (HikariCP, "About Pool Sizing").
- Files of a broker: twice the connections, and the queues (RabbitMQ, "Production Checklist").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rmqpool.errors import ConfigurationError

__all__ = [
    "Agents",
    "BrokerLimits",
    "Demand",
    "Figure",
    "PostgresLimits",
    "Sizing",
    "deadlock_bound",
    "fit_broker",
    "fit_postgres",
    "mean_wait",
    "size_for",
    "size_of",
    "waiting_share",
]

CONNECTIONS: Final = 3  # of a ConnectionPool at its defaults: one each to publish, to consume, and for leased channels
_MODEST: Final = 8  # channels; a client with more of them gets none of the last eighth of a connection of its agent
_KEPT_SHARE: Final = 8
_BUSIEST: Final = 1_000_000.0  # in use on average: beyond, it is no pool's business any more


@dataclass(frozen=True, slots=True)
class Demand:
    """What one instance of the application asks of its pool.

    ``rate``: acquires a second; ``hold``: seconds for which each is held; ``waits``: the share of callers that may have to
    wait (0 to 1). ``threads`` (or tasks) use the pool, each with at most ``each`` at once. None: not known. Raises
    ConfigurationError for what makes no sense, or tells too little.
    """

    rate: float | None = None
    hold: float | None = None
    waits: float = 0.01
    threads: int | None = None
    each: int = 1

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("hold", self.hold)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"{name} is {value!r}; give a number above 0")
        if not 0 < self.waits < 1:
            raise ConfigurationError(f"waits is {self.waits!r}; give a share between 0 and 1, such as 0.01")
        for name, count in (("threads", self.threads), ("each", self.each)):
            if count is not None and count < 1:
                raise ConfigurationError(f"{name} is {count!r}; give a whole number of at least 1")
        if (self.rate is None) != (self.hold is None):
            raise ConfigurationError("the rate and the hold time belong together: give both")
        if self.rate is None and self.threads is None:
            raise ConfigurationError("nothing is known of the load: give the rate and the hold time, or the threads")
        if self.busy is not None and self.busy > _BUSIEST:
            raise ConfigurationError(f"{self.busy:,.0f} in use on average: look at the units, hold is in seconds")

    @property
    def busy(self) -> float | None:
        """In use on average."""
        return None if self.rate is None or self.hold is None else self.rate * self.hold


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: its stable name for machines, the value, and why it is so."""

    name: str
    value: float
    because: str


@dataclass(frozen=True, slots=True)
class Sizing:
    """The size of each instance's pool, the figures on the way to it, and what does not fit."""

    size: int
    figures: tuple[Figure, ...]
    problems: tuple[str, ...] = ()

    def with_more(self, figures: tuple[Figure, ...], problems: tuple[str, ...]) -> Sizing:
        """The same size, with the figures and problems of a limit."""
        return Sizing(self.size, self.figures + figures, self.problems + problems)


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """``channel_max`` of a connection; ``files``: what the node may open, and the ``queues`` that are there. None: not known."""

    channel_max: int
    files: int | None = None
    queues: int | None = None


@dataclass(frozen=True, slots=True)
class Agents:
    """``rmqpool agent``, one on each of so many ``hosts``, with so many connections for ``publishing`` each (--connections)."""

    hosts: int = 1
    publishing: int = 2

    @property
    def each(self) -> int:
        """Connections of one agent to the broker: it consumes on another one, and leases channels of another one."""
        return self.publishing + 2


@dataclass(frozen=True, slots=True)
class PostgresLimits:
    """``max_connections`` of the server, those ``reserved`` for superusers and the like, and those of ``others``."""

    max_connections: int
    reserved: int = 3
    others: int = 0


def waiting_share(size: int, busy: float) -> float:
    """The share of callers that find all of ``size`` in use (Erlang C); 1 if they cannot keep up at all."""
    if busy >= size:
        return 1.0
    for number, blocked in _erlang_b(busy):
        if number == size:
            return _erlang_c(size, busy, blocked)
    raise AssertionError("the numbers do not end")


def mean_wait(size: int, busy: float, hold: float) -> float:
    """Seconds that a caller waits on average, those that do not wait included; infinite if they cannot keep up."""
    return math.inf if busy >= size else waiting_share(size, busy) * hold / (size - busy)


def size_for(busy: float, waits: float) -> int:
    """The smallest size at which at most the share ``waits`` of the callers waits."""
    for number, blocked in _erlang_b(busy):
        if number > busy and _erlang_c(number, busy, blocked) <= waits:
            return number
    raise AssertionError("the numbers do not end")


def deadlock_bound(threads: int, each: int) -> int:
    """The smallest size with which ``threads`` that take up to ``each`` one after the other cannot all wait for good."""
    return threads * (each - 1) + 1


def size_of(demand: Demand) -> Sizing:
    """The size for one instance."""
    figures: list[Figure] = []
    problems: tuple[str, ...] = ()
    needs = [1]
    if demand.busy is not None and demand.hold is not None:
        enough = size_for(demand.busy, demand.waits)
        needs.append(enough)
        share, wait = waiting_share(enough, demand.busy), mean_wait(enough, demand.busy, demand.hold)
        figures += [
            Figure("in_use", demand.busy, f"{demand.rate:g}/s x {demand.hold:.3g} s each, on average (Little's law)"),
            Figure(
                "for_the_rate",
                enough,
                f"{share:.2%} of the callers wait then, {wait:.2g} s on average over all (Erlang C); asked for: at most "
                f"{demand.waits:.3g}",
            ),
        ]
    if demand.threads is not None:
        threads, each = demand.threads, demand.each
        bound, most = deadlock_bound(threads, each), threads * each
        needs.append(bound)
        stuck = (
            "with fewer, all may hold some and wait for each other" if each > 1 else "who holds one waits for nothing"
        )
        figures += [
            Figure("no_deadlock", bound, f"{threads} threads x ({each} each - 1) + 1: {stuck}"),
            Figure("never_more", most, f"{threads} threads x {each} each: nothing more is ever in use"),
        ]
        size = most if demand.busy is None else min(most, max(needs))
        why = "never more are in use; with the rate and the hold time it may turn out smaller"
        if demand.busy is not None:
            why = "as many as are ever in use" if size == most else "the larger one of the rate and no deadlock"
        if demand.busy is not None and demand.busy >= most:
            problems = (
                f"{threads} threads x {each} each hold at most {most} at once, and the rate needs {demand.busy:.4g} on average: "
                "no pool makes up for that; run more threads or instances, or hold for less time",
            )
    else:
        size, why = max(needs), "for the rate"
    return Sizing(size, (*figures, Figure("size", size, f"{why}: for each instance")), problems)


def fit_broker(sizing: Sizing, limits: BrokerLimits, instances: int, agents: Agents | None = None) -> Sizing:
    """A pool of channels against channel_max and the broker's files. With ``agents`` the instances connect to these only."""
    room = limits.channel_max - 1
    figures = [Figure("channels_of_a_connection", room, f"channel_max {limits.channel_max}, less one for declarations")]
    problems: list[str] = []
    if sizing.size > room:
        problems.append(
            f"{sizing.size} channels do not fit into one connection ({room}): raise channel_max on the broker and in the URL, "
            f"or run {math.ceil(sizing.size / max(1, room))} times as many instances with smaller pools"
        )
    if agents is None:
        connections = CONNECTIONS * instances
        because = f"{CONNECTIONS} (publish, consume, lease) x {_instances(instances)}"
        figures.append(Figure("connections", connections, because))
    else:
        connections = agents.each * agents.hosts
        more, too_many = _behind_agents(sizing.size, limits, instances, agents)
        figures += more
        problems += too_many
    if limits.files is not None:
        queues = limits.queues or 0
        needed = 2 * connections + queues
        figures.append(Figure("files", needed, f"2 x {connections} connections + {queues} queues, of {limits.files}"))
        if needed > limits.files:
            problems.append(
                f"the broker may open {limits.files} files and should have {needed}: raise the limit of open files of its "
                "service, or run fewer instances"
            )
    return sizing.with_more(tuple(figures), tuple(problems))


def _behind_agents(
    size: int, limits: BrokerLimits, instances: int, agents: Agents
) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """What instances cost that share the connections of their host's agent; and whether their channels fit into its."""
    of_host = math.ceil(instances / agents.hosts)
    hosts = f"{agents.hosts} host{'s' if agents.hosts != 1 else ''}"
    each = size + 1
    room = limits.channel_max - (limits.channel_max // _KEPT_SHARE if each > _MODEST else 0)
    figures = (
        Figure(
            "connections",
            agents.each * agents.hosts,
            f"{agents.each} of the agent ({agents.publishing} publish, 1 consume, 1 lease) x {hosts}, whatever is behind it",
        ),
        Figure(
            "channels_of_an_agent",
            of_host * each,
            f"{_instances(of_host)} x ({size} leased + 1 for declarations), of {room} in its one connection for these",
        ),
    )
    if of_host * each <= room:
        return figures, ()
    problem = (
        f"the {of_host * each} leased channels behind one agent do not fit into its connection for them ({room}): run fewer "
        "instances on a host, or a second agent there"
    )
    return figures, (problem,)


def fit_postgres(sizing: Sizing, limits: PostgresLimits, instances: int) -> Sizing:
    """A pool of Postgres connections against max_connections, over all instances."""
    free = max(0, limits.max_connections - limits.reserved - limits.others)
    share = free // instances
    total = sizing.size * instances
    figures = (
        Figure("connections", total, f"{sizing.size} x {_instances(instances)}"),
        Figure(
            "free_connections",
            free,
            f"max_connections {limits.max_connections}, less {limits.reserved} reserved and {limits.others} of others",
        ),
        Figure("share_of_an_instance", share, f"{free} / {_instances(instances)}, rounded down"),
    )
    if total <= free:
        return sizing.with_more(figures, ())
    advice = f"a pool of {share} in each instance is the most that fits" if share else "not even one each fits"
    busy = next((one.value for one in sizing.figures if one.name == "in_use"), 0.0)
    if 0 < share <= busy:
        advice += f", and with {busy:.3g} in use on average it could not keep up"
    problem = (
        f"{total} connections do not fit into the {free} that are free: {advice}; raise max_connections, run fewer instances, "
        "hold connections for less time, or put PgBouncer before Postgres"
    )
    return sizing.with_more(figures, (problem,))


def _instances(count: int) -> str:
    return f"{count} instance{'s' if count != 1 else ''}"


def _erlang_b(busy: float) -> Iterator[tuple[int, float]]:
    """1, 2, 3 … and the share that finds so many in use if nobody waits (Erlang B), without large factorials."""
    blocked, number = 1.0, 0
    while True:
        number += 1
        blocked = busy * blocked / (number + busy * blocked)
        yield number, blocked


def _erlang_c(size: int, busy: float, blocked: float) -> float:
    return min(1.0, size * blocked / (size - busy * (1.0 - blocked)))
