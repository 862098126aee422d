"""What the pools of things promise of checks. A null pool has nothing to check.

Channels need no check: the connection's heartbeat, and the broker's own word, tell of each that is gone.
``ConnectionPool.check()`` asks the broker on each connection, see test_pool_figures.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from rmqpool import ConfigurationError, PoolTimeoutError
from rmqpool import PoolEventKind as Kind
from tests.integration.resources.conftest import Make
from tests.integration.resources.world import PATIENCE, World, wait_for


class TestBeforeUse:
    def test_check_idle(self, make: Make, world: World) -> None:
        """What was unused for check_after_idle is checked before it is handed out, and only then."""
        pool = make(max_size=1, check_after_idle=0.2)
        held = pool.acquire()
        pool.release(held)
        assert pool.use() == held.number
        assert "checked" not in held.log

        def used_after_a_while() -> bool:
            time.sleep(0.25)  # what passes is what is tested
            pool.use()
            return "checked" in held.log

        wait_for(used_after_a_while, "a check")

    def test_check_init(self, make: Make, world: World) -> None:
        """A check is called with the resource before each use, with check_after_idle=0; what has just been opened is good."""
        pool = make(max_size=1, check_after_idle=0)
        held = pool.acquire()
        assert held.log == []
        pool.release(held)
        pool.use()
        pool.use()
        assert held.log == ["checked", "checked"]

    def test_connect_no_check(self, make: Make, world: World) -> None:
        """Without a check the pool cannot know that a resource is dead: its user finds out."""
        pool = make(max_size=1, check=False, check_after_idle=0)
        held = pool.acquire()
        pool.release(held)
        held.dead = True
        assert pool.acquire() is held
        pool.release(held, reusable=False)
        assert pool.use() != held.number

    @pytest.mark.parametrize("way", ["acquire", "lease"])
    def test_connect_check(self, make: Make, world: World, way: str) -> None:
        """With one, nothing idle is handed out unchecked, and the dead are replaced, whichever way a caller borrows."""
        pool = make(max_size=1, check_after_idle=0)
        first = pool.acquire()
        pool.release(first)
        assert pool.acquire() is first
        assert first.log == ["checked"]
        pool.release(first)
        first.dead = True
        if way == "acquire":
            second = pool.acquire()
            assert second is not first
            pool.release(second)
        else:
            assert pool.use() != first.number
        wait_for(lambda: "closed" in first.log, "the end of the dead one")
        assert pool.stats().counters.checks_failed == 1
        wait_for(lambda: Kind.CHECK_FAILED in world.kinds, "its event")  # told by another thread

    def test_check_timeout(self, make: Make, world: World) -> None:
        """A check that hangs has failed after check_timeout: the caller gets another resource in its own time."""
        pool = make(max_size=1, check_after_idle=0, check_timeout=0.1)
        first = pool.acquire()
        pool.release(first)
        world.may_check.clear()
        second = pool.acquire()
        assert second is not first
        world.may_check.set()
        pool.release(second)

    def test_connect_check_timeout(self, make: Make, world: World) -> None:
        """The dead one cannot be replaced: the caller is told by its deadline, and later ones are served."""
        pool = make(max_size=1, check_after_idle=0)
        pool.use()
        world.kill()
        with pytest.raises(PoolTimeoutError) as caught:
            pool.acquire(timeout=0.2)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        world.failing = False
        pool.release(pool.acquire())

    def test_check_backoff(self, make: Make, world: World) -> None:
        """A check that always fails makes no loop: a new one is lent unchecked, one open for each caller."""
        pool = make(max_size=1, check_after_idle=0)
        for _ in range(3):
            pool.release(pool.acquire())
            for thing in world.open:
                thing.dead = True
        assert world.attempts == 3
        assert pool.stats().counters.checks_failed == 2

    def test_check_returns_an_ok_connection(self, make: Make, world: World) -> None:
        """What a failed check leaves behind, in whatever state, is lent to nobody."""
        pool = make(max_size=1, check_after_idle=0)
        first = pool.acquire()
        pool.release(first)

        def break_it(thing: Any) -> bool:
            thing.log.append("in the middle of something")
            raise RuntimeError("the check failed")

        world.check = break_it  # type: ignore[method-assign]
        assert pool.use() != first.number
        wait_for(lambda: first.log == ["in the middle of something", "closed"], "its end")

    def test_one_deadline(self, make: Make, world: World) -> None:
        """The caller's timeout is over waiting and checking together; what it left behind is not lost."""
        pool = make(max_size=1, check_after_idle=0, check_timeout=PATIENCE)
        first = pool.acquire()
        pool.release(first)
        world.may_check.clear()
        with pytest.raises(PoolTimeoutError, match="1 being checked"):
            pool.acquire(timeout=0.1)
        world.may_check.set()
        assert pool.acquire() is first
        pool.release(first)

    def test_served_while_another_is_checked(self, make: Make, world: World) -> None:
        """A caller whose idle resource is being checked takes what comes back first."""
        pool = make(max_size=2, check_after_idle=0, check_timeout=PATIENCE)
        a, b = pool.acquire(), pool.acquire()
        pool.release(a)
        world.may_check.clear()
        waiting = pool.start()
        wait_for(lambda: pool.stats().tended == 1, "the check")
        pool.release(b)
        assert waiting.result(PATIENCE) is b
        world.may_check.set()
        wait_for(lambda: pool.stats().idle == 1, "the checked one")
        pool.release(b)


class TestAllOfThem:
    def test_check(self, make: Make, world: World) -> None:
        """pool.check() looks at all that are idle, and replaces the dead; the leased are left alone."""
        pool = make(min_size=3, max_size=4)
        pool.open()
        held = pool.acquire()
        idle = [thing for thing in world.open if thing is not held]
        idle[0].dead = held.dead = True
        assert pool.check() == 1
        wait_for(lambda: pool.stats().idle == 2, "the new one")
        assert "closed" in idle[0].log
        assert held.log == []
        assert idle[1].log == ["checked"]
        held.dead = False
        pool.release(held)
        assert pool.check() == 0

    def test_check_of_nothing(self, make_null: Make) -> None:
        """A null pool has nothing idle."""
        pool = make_null()
        pool.use()
        assert pool.check() == 0

    def test_check_connection(self, make: Make, world: World) -> None:
        """A check says no with False or with an exception; whatever else it returns is a yes."""
        pool = make(min_size=2, max_size=2)
        pool.open()
        world.check = lambda thing: None if thing.number == 1 else thing.crash()  # type: ignore[assignment,attr-defined,method-assign]
        assert pool.check() == 1
        wait_for(lambda: [thing.number for thing in world.open] == [1, 3], "the new one")

    def test_check_max_lifetime(self, make: Make, world: World) -> None:
        """What is good, but whose time is over, is replaced too."""
        pool = make(max_size=1, max_lifetime=60.0)
        first = pool.acquire()
        pool.release(first)
        for entry in pool.pool._ledger._entries.values():
            entry.retire_at = time.monotonic()
        assert pool.check() == 0
        wait_for(lambda: "closed" in first.log, "its end")
        assert pool.use() != first.number

    def test_stats_check(self, make: Make, world: World) -> None:
        """What a check has found dead is counted, once."""
        pool = make(max_size=1, check_after_idle=0)
        pool.use()
        world.open[0].dead = True
        pool.use()
        counters = pool.stats().counters
        assert (counters.checks_failed, counters.opened) == (1, 2)

    def test_check_without_a_check(self, make_of_things: Make) -> None:
        """Is a mistake that is told."""
        pool = make_of_things(check=False)
        with pytest.raises(ConfigurationError, match="no check"):
            pool.check()
