"""A circuit breaker around the opens of one pool: when they may begin, and whether callers are to wait for them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rmqpool.core.breaker import BreakerState, Pass
from rmqpool.core.opening import OpenPlan
from rmqpool.errors import CircuitOpenError

if TYPE_CHECKING:
    from rmqpool.breaker import Breaker

__all__ = ["Birth", "Guard"]

_LONGEST = 1.0  # seconds between two looks at a breaker that is open: another pool's probe may have closed it
_SHORTEST = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Birth:
    """One open that begins: the ledger's ``generation`` at that moment, and what the breaker waits for (None: nothing)."""

    generation: int
    call: Pass | None = None


class Guard:
    """``breaker`` None: nothing is ever held. What calls the user's functions is not to be called under the pool's lock."""

    def __init__(self, breaker: Breaker | None, plan: OpenPlan) -> None:
        self._breaker = breaker
        self._plan = plan

    def is_held(self, now: float) -> bool:
        """No open can begin now, as the breaker is open or another open is its probe: nobody is to wait for one."""
        breaker = self._breaker
        if breaker is None or breaker.state is BreakerState.CLOSED:
            return False
        return breaker.wait() > 0 or now < self._plan.retry_at

    def admit(self, count: int, generation: int, now: float) -> tuple[list[Birth], float]:
        """Which of ``count`` opens that the plan has begun may begin, the others are pending again; when to come again."""
        if self._breaker is None:
            return [Birth(generation)] * count, math.inf
        births: list[Birth] = []
        for _ in range(count):
            answer = self._breaker.admit()
            if not isinstance(answer, Pass):
                self._plan.put_back(count - len(births))
                return births, now + min(max(answer.wait, _SHORTEST), _LONGEST)
            births.append(Birth(generation, answer))
        return births, math.inf

    def tell(self) -> None:
        """Have the breaker tell what :meth:`admit` has changed. Not under a lock."""
        if self._breaker is not None:
            self._breaker.tell()

    def settle(self, birth: Birth, error: BaseException | None) -> None:
        """What an open came to. Not under a lock."""
        if birth.call is not None and self._breaker is not None:
            self._breaker.settle(birth.call, error)

    def withdraw(self, birth: Birth) -> None:
        """An open does not take place."""
        if birth.call is not None and self._breaker is not None:
            self._breaker.withdraw(birth.call)

    def refusal(self, why: str, cause: BaseException | None) -> CircuitOpenError | None:
        """What a caller is told who is not to wait for an open; None without a breaker."""
        if self._breaker is None:
            return None
        at_least = self._plan.retry_at - time.monotonic()
        return self._breaker.refused(CircuitOpenError, why, cause, at_least)
