"""A pool under a recorded load, event by event, with a clock of its own: the same figures in each run.

Callers come at random moments (seeded) at the rate of the curve, hold a resource for a random time, and are served first in,
first out. A resource takes time to open, one after the other; whoever wanted it waits for the pool, as in ours.
"""

from __future__ import annotations

import heapq
import json
import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from rmqpool.core.autoscale import Autoscale, Scaler

__all__ = ["CURVES", "Curve", "Run", "simulate"]

HOLD = 0.05  # seconds that a resource is held, on average
OPEN = 0.15  # seconds to open one
LOOK = 0.25  # seconds between two looks of the scaler


@dataclass(frozen=True)
class Curve:
    """Callers a second, in steps of so many seconds."""

    step: float
    rates: tuple[float, ...]

    @property
    def seconds(self) -> float:
        return self.step * len(self.rates)


CURVES = {
    name: Curve(curve["step"], tuple(curve["rates"]))
    for name, curve in json.loads(Path(__file__).with_name("load_curves.json").read_text()).items()
}


@dataclass
class Run:
    """What happened: when each caller came, and how long it waited; every change of the size (moment, size, reason)."""

    came: list[float] = field(default_factory=list, repr=False)
    waits: list[float] = field(default_factory=list, repr=False)
    changes: list[tuple[float, int, str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list, repr=False)
    resource_seconds: float = 0.0
    """The size, over the time."""

    def wait(self, share: float) -> float:
        """The wait that this share of the callers did not exceed."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(share * len(self.waits)))]

    def slow(self, seconds: float) -> list[float]:
        """When those came who waited for longer."""
        return [came for came, wait in zip(self.came, self.waits, strict=True) if wait > seconds]

    def shrinks(self) -> list[float]:
        """When it became smaller."""
        befores = [self.sizes[0], *(size for _, size, _ in self.changes)]
        return [moment for (moment, size, _), before in zip(self.changes, befores, strict=False) if size < before]

    def most_changes_in(self, seconds: float) -> int:
        """The most changes within so many seconds."""
        moments = [moment for moment, _, _ in self.changes]
        return max((sum(0 <= other - moment < seconds for other in moments) for moment in moments), default=0)


def simulate(curve: Curve, policy: Autoscale, seed: int = 1) -> Run:
    """A pool that sizes itself; one of a fixed size has a policy whose bounds are the same."""
    chance = random.Random(seed)
    run, scaler = Run(), Scaler(policy)
    events: list[tuple[float, int, str]] = []
    serial = 0

    def at(moment: float, what: str) -> None:
        nonlocal serial
        serial += 1
        heapq.heappush(events, (moment, serial, what))

    queue: deque[float] = deque()  # when each caller who waits came
    opened, leased, opening, peak = scaler.size, 0, False, 0
    run.sizes.append(scaler.size)
    at(chance.expovariate(curve.rates[0]), "caller")
    at(LOOK, "look")
    last = 0.0
    while events:
        now, _, what = heapq.heappop(events)
        run.resource_seconds += opened * (now - last)
        last = now
        if what == "caller":
            queue.append(now)
            rate = curve.rates[min(len(curve.rates) - 1, int(now / curve.step))]
            following = now + chance.expovariate(rate)
            if following < curve.seconds:
                at(following, "caller")
        elif what == "back":
            leased -= 1
            if opened > scaler.size:
                opened -= 1
        elif what == "opened":
            opened, opening = opened + 1, False
        elif what == "look":
            change = scaler.look(now, max(peak, leased), len(queue), now - queue[0] if queue else 0.0)
            peak = leased
            if change is not None:
                run.changes.append((now, change.size, change.because))
                opened -= max(0, min(opened - leased, opened - scaler.size))  # idle ones end at once
            run.sizes.append(scaler.size)
            if now < curve.seconds or queue or leased:
                at(now + LOOK, "look")
        while queue and leased < opened:
            run.came.append(queue.popleft())
            run.waits.append(now - run.came[-1])
            leased += 1
            at(now + chance.expovariate(1 / HOLD), "back")
        peak = max(peak, leased)
        if not opening and opened < scaler.size:
            opening = True
            at(now + OPEN, "opened")
    return run
