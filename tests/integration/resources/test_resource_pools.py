"""What the pools of resources promise beyond every pool: opening, checking, resetting. One text for threads and asyncio."""

from __future__ import annotations

import gc
import time
import warnings
from concurrent.futures import as_completed
from typing import Any

import pytest

from rmqpool import (
    AsyncResourcePool,
    ConfigurationError,
    LeaseReleasedError,
    PoolClosedError,
    PoolTimeoutError,
    ResourcePool,
)
from rmqpool import ResourceEventKind as Kind
from tests.integration.resources.conftest import Make
from tests.integration.resources.world import PATIENCE, World, elapsed, wait_for


def kinds(world: World) -> list[Kind]:
    return [event.kind for event in list(world.events)]


class TestOpening:
    def test_nothing_before_the_first_use(self, make: Make, world: World) -> None:
        """A pool that was made has opened nothing, and started nothing."""
        pool = make(min_size=2)
        assert world.attempts == 0
        assert "not open yet" in repr(pool.pool)

    def test_min_size(self, make: Make, world: World) -> None:
        """The minimum is there after open, and is kept when one ends."""
        pool = make(min_size=3, max_size=5)
        pool.open()
        assert len(world.open) == 3
        pool.release(pool.acquire(), reusable=False)
        wait_for(lambda: pool.stats().idle == 3, "the minimum")

    def test_concurrent_filling(self, make: Make, world: World) -> None:
        """The minimum is opened side by side, not one after the other."""
        world.may_open.clear()
        pool = make(min_size=3, max_size=5)
        pool.open(wait=False)
        wait_for(lambda: world.opening == 3, "three opens at a time")
        world.may_open.set()
        pool.wait()

    def test_grow_one_at_a_time(self, make: Make, world: World) -> None:
        """Above the minimum one is opened at a time, however many wait."""
        world.may_open.clear()
        pool = make(max_size=5)
        waiting = [pool.start() for _ in range(5)]
        wait_for(lambda: pool.stats().waiting == 5, "five callers")
        assert world.opening == 1
        world.may_open.set()
        for future in waiting:
            future.result(PATIENCE)
        assert world.most_opening == 1
        for future in waiting:
            pool.release(future.result())

    def test_growth_may_be_wider(self, make: Make, world: World) -> None:
        """``growth`` says how many are opened at a time; 0 is as many as wait."""
        world.may_open.clear()
        pool = make(max_size=5, growth=0)
        waiting = [pool.start() for _ in range(7)]
        wait_for(lambda: world.opening == 5, "five opens at a time")
        world.may_open.set()
        for future in as_completed(waiting, PATIENCE):
            pool.release(future.result())

    def test_waits_for_the_pool_only(self, make: Make, world: World) -> None:
        """Whoever is waiting for an open takes what another one gives back; the open becomes idle."""
        pool = make(max_size=2)
        held = pool.acquire()
        world.may_open.clear()
        waiting = pool.start()
        wait_for(lambda: world.opening == 1, "the open")
        pool.release(held)
        assert waiting.result(PATIENCE) is held
        world.may_open.set()
        wait_for(lambda: pool.stats().idle == 1, "the one that came late")
        pool.release(held)

    def test_open_is_left_to_the_next(self, make: Make, world: World) -> None:
        """A caller that times out leaves its open to whoever comes next."""
        world.may_open.clear()
        pool = make(max_size=2)
        with pytest.raises(PoolTimeoutError, match="1 opening"):
            pool.acquire(timeout=0.05)
        following = pool.start()
        wait_for(lambda: pool.stats().waiting == 1, "the next one")
        world.may_open.set()
        pool.release(following.result(PATIENCE))
        assert world.attempts == 1

    def test_timeout_zero(self, make: Make, world: World) -> None:
        """Take what is free, or fail at once."""
        world.may_open.clear()
        pool = make(max_size=1)
        with pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0)
        world.may_open.set()
        wait_for(lambda: pool.stats().idle == 1, "the open that was begun")
        pool.release(pool.acquire(timeout=0))

    def test_wait_ready(self, make: Make, world: World) -> None:
        """wait says when the minimum is not there in time; the pool goes on."""
        world.may_open.clear()
        pool = make(min_size=2)
        with pytest.raises(PoolTimeoutError, match="0 of 2 resources"):
            pool.open(timeout=0.05)
        world.may_open.set()
        pool.wait()
        assert pool.stats().idle == 2

    def test_wait_closed(self, make: Make) -> None:
        """A closed pool opens no more."""
        pool = make(min_size=1)
        pool.close()
        for ask in (pool.open, pool.wait):
            with pytest.raises(PoolClosedError):
                ask()

    def test_setup_error(self, make: Make, world: World) -> None:
        """When nothing can be opened, the error of open is the cause."""
        world.failing = True
        pool = make(min_size=1)
        with pytest.raises(PoolTimeoutError) as caught:
            pool.open(timeout=0.3)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    def test_reconnect(self, make: Make, world: World) -> None:
        """A failed open is tried again, with a caller that waits all the while."""
        world.failing = True
        pool = make(max_size=1)
        waiting = pool.start()
        wait_for(lambda: world.attempts >= 3, "some attempts")
        assert pool.stats().failures_in_a_row >= 2
        world.failing = False
        pool.release(waiting.result(PATIENCE))
        assert pool.stats().failures_in_a_row == 0

    def test_one_probe_while_opening_fails(self, make: Make, world: World) -> None:
        """A server that is away is not besieged."""
        world.failing = True
        pool = make(max_size=8, growth=0)
        first = pool.start()
        wait_for(lambda: pool.stats().failures_in_a_row >= 1, "a failure")
        world.most_opening = 0
        waiting = [first, *(pool.start() for _ in range(7))]
        attempts = world.attempts
        wait_for(lambda: world.attempts > attempts + 3, "more attempts")
        assert world.most_opening == 1
        world.failing = False
        for future in waiting:
            future.result(PATIENCE)
        for future in waiting:
            pool.release(future.result())

    def test_no_attempts_for_nobody(self, make: Make, world: World) -> None:
        """When all callers have left, a failed open is not tried again."""
        world.failing = True
        pool = make(max_size=1)
        with pytest.raises(PoolTimeoutError) as caught:
            pool.acquire(timeout=0.2)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        wait_for(lambda: pool.stats().opening == 0, "the end of the attempts")

    def test_reconnect_failure(self, make: Make, world: World) -> None:
        """After reconnect_timeout whoever waits is told, with the cause; later callers are served when it is over."""
        world.failing = True
        pool = make(max_size=1, reconnect_timeout=0.3)
        with pytest.raises(PoolTimeoutError, match=r"could be opened for 0\.3 s") as caught:
            pool.acquire()
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        assert Kind.RECONNECT_FAILED in kinds(world)
        assert pool.stats().counters.reconnects_failed == 1
        world.failing = False
        pool.release(pool.acquire())

    def test_setup_no_timeout_of_open(self, make: Make, world: World) -> None:
        """An open that hangs has failed after open_timeout; what it brings late is closed."""
        world.may_open.clear()
        pool = make(max_size=1, open_timeout=0.1)
        waiting = pool.start()
        wait_for(lambda: world.attempts >= 2, "the next attempt")
        world.may_open.set()
        held = waiting.result(PATIENCE)
        wait_for(lambda: world.open == [held], "the end of those that came late")
        pool.release(held)

    def test_same_object_twice(self, make: Make, world: World) -> None:
        """An open that returns what the pool has already is an error, not two leases of one resource."""
        pool = make(max_size=2)
        held = pool.acquire()
        world.end_open = lambda: held  # type: ignore[method-assign]
        with pytest.raises(PoolTimeoutError) as caught:
            pool.acquire(timeout=0.2)
        assert isinstance(caught.value.__cause__, ConfigurationError)
        del world.end_open
        pool.release(held)


class TestIdle:
    def test_lifo(self, make: Make) -> None:
        """What was used last is used again."""
        pool = make(max_size=3)
        a, b, c = (pool.acquire() for _ in range(3))
        for one in (b, c, a):
            pool.release(one)
        assert [pool.acquire() for _ in range(3)] == [a, c, b]
        for one in (a, b, c):
            pool.release(one)

    def test_uniform_use(self, make: Make) -> None:
        """With order="fifo" all are used in turn."""
        pool = make(max_size=3, order="fifo")
        a, b, c = (pool.acquire() for _ in range(3))
        for one in (b, c, a):
            pool.release(one)
        assert [pool.acquire() for _ in range(3)] == [b, c, a]
        for one in (a, b, c):
            pool.release(one)

    def test_null_pool(self, make: Make, world: World) -> None:
        """keep_idle=False bounds and pools nothing: each is closed, unless somebody waits for it."""
        pool = make(max_size=1, keep_idle=False)
        held = pool.acquire()
        waiting = pool.start()
        wait_for(lambda: pool.stats().waiting == 1, "the next one")
        pool.release(held)
        assert waiting.result(PATIENCE) is held
        pool.release(held)
        wait_for(lambda: world.open == [], "its end")
        assert pool.stats().size == 0

    def test_shrink_to_the_minimum(self, make: Make, world: World) -> None:
        """The minimum is never closed for being unused."""
        pool = make(min_size=1, max_size=3, max_idle=0.1)
        for one in [pool.acquire() for _ in range(3)]:
            pool.release(one)
        wait_for(lambda: len(world.open) == 1, "the minimum")
        assert pool.stats().idle == 1

    def test_resize_of_the_minimum(self, make: Make, world: World) -> None:
        """More are opened at once."""
        pool = make(min_size=1, max_size=4)
        pool.open()
        pool.resize(min_size=3)
        wait_for(lambda: pool.stats().idle == 3, "the new minimum")

    def test_bad_resize(self, make: Make) -> None:
        """Sizes that make no sense change nothing."""
        pool = make(min_size=1, max_size=4)
        for sizes in ({"max_size": 0}, {"min_size": 5}, {"min_size": -1}):
            with pytest.raises(ConfigurationError):
                pool.resize(**sizes)
        assert (pool.stats().min_size, pool.stats().max_size) == (1, 4)


class TestChecking:
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

    def test_check_before_each_use(self, make: Make, world: World) -> None:
        """check_after_idle=0: nothing idle is handed out unchecked, and the dead are replaced."""
        pool = make(max_size=1, check_after_idle=0)
        first = pool.acquire()
        pool.release(first)
        assert pool.acquire() is first
        assert first.log == ["checked"]
        pool.release(first)
        first.dead = True
        second = pool.acquire()
        assert second is not first
        wait_for(lambda: "closed" in first.log, "the end of the dead one")
        assert pool.stats().counters.checks_failed == 1
        assert Kind.CHECK_FAILED in kinds(world)
        pool.release(second)

    def test_check_has_its_own_deadline(self, make: Make, world: World) -> None:
        """A check that hangs has failed after check_timeout: the caller gets another resource in its own time."""
        pool = make(max_size=1, check_after_idle=0, check_timeout=0.1)
        first = pool.acquire()
        pool.release(first)
        world.may_check.clear()
        second = pool.acquire()
        assert second is not first
        world.may_check.set()
        pool.release(second)

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

    def test_inerror_rollback(self, make: Make, world: World) -> None:
        """A block that ends with an exception has its resource checked before the next one gets it."""
        pool = make(max_size=1)
        held = pool.acquire()
        pool.release(held)
        with pytest.raises(ZeroDivisionError):
            pool.use(fail=True)
        assert pool.acquire() is held
        assert held.log == ["checked"]
        held.dead = True
        pool.release(held)
        with pytest.raises(ZeroDivisionError):
            pool.use(fail=True)
        assert pool.use() != held.number

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

    def test_check_without_a_check(self, make: Make) -> None:
        """Is a mistake that is told."""
        pool = make(check=False)
        with pytest.raises(ConfigurationError, match="no check"):
            pool.check()


class TestResetting:
    def test_reset(self, make: Make, world: World) -> None:
        """Each resource is reset when it comes back, before anybody else gets it."""
        pool = make(max_size=1, reset=True)
        held = pool.acquire()
        waiting = pool.start()
        wait_for(lambda: pool.stats().waiting == 1, "the next one")
        pool.release(held)
        assert waiting.result(PATIENCE) is held
        assert held.log == ["reset"]
        pool.release(held)

    def test_reset_fails(self, make: Make, world: World) -> None:
        """What cannot be reset is closed and replaced."""
        pool = make(max_size=1, reset=True)
        held = pool.acquire()
        world.reset_failing = True
        pool.release(held)
        wait_for(lambda: "closed" in held.log, "its end")
        world.reset_failing = False
        other = pool.acquire()
        assert other is not held
        assert Kind.RESET_FAILED in kinds(world)
        pool.release(other)


class TestReturning:
    def test_close_returns(self, make: Make, world: World) -> None:
        """Closing a lease gives the resource back, open as it was; the end of the block does nothing then."""
        pool = make(max_size=1)
        thing = pool.close_inside()
        assert thing.log == []
        assert pool.stats().idle == 1
        assert pool.acquire() is thing
        pool.release(thing)

    def test_discard(self, make: Make, world: World) -> None:
        """A lease may say that its resource is broken."""
        pool = make(max_size=1)
        thing = pool.discard_inside()
        wait_for(lambda: "closed" in thing.log, "its end")
        assert pool.use() != thing.number

    def test_putconn_no_pool(self, make: Make) -> None:
        """What was never of a pool cannot be given to it."""
        pool = make()
        with pytest.raises(LeaseReleasedError, match="not of this pool"):
            pool.release(object())

    def test_putconn_wrong_pool(self, make: Make) -> None:
        """Nor what is another pool's; nothing changes there."""
        one, other = make(), make()
        held = one.acquire()
        with pytest.raises(LeaseReleasedError, match="not of this pool"):
            other.release(held)
        assert one.stats().leased == 1
        one.release(held)


class TestEnding:
    def test_close_closes(self, make: Make, world: World) -> None:
        """close closes what is idle, and what is leased when it comes back."""
        pool = make(max_size=2)
        held, idle = pool.acquire(), pool.acquire()
        pool.release(idle)
        assert pool.close()
        assert idle.log == ["closed"]
        assert held.log == []
        pool.release(held)
        wait_for(lambda: held.log == ["closed"], "its end")

    def test_close_while_opening(self, make: Make, world: World) -> None:
        """An open that ends after close is closed, and close does not wait for ever."""
        world.may_open.clear()
        pool = make(max_size=1)
        waiting = pool.start()
        wait_for(lambda: world.opening == 1, "the open")
        assert elapsed(lambda: pool.close(0.2)) < PATIENCE
        with pytest.raises(PoolClosedError):
            waiting.result(PATIENCE)
        world.may_open.set()
        wait_for(lambda: world.open == [], "the end of what came late")

    def test_reopen(self, make: Make) -> None:
        """What is closed stays closed; closing and opening again and again is harmless."""
        pool = make(min_size=1)
        pool.open()
        pool.open()
        pool.close()
        pool.close()
        with pytest.raises(PoolClosedError):
            pool.open()

    @pytest.mark.parametrize("kind", [ResourcePool, AsyncResourcePool])
    def test_del_no_warning(self, kind: Any) -> None:
        """A pool that was never used, or was closed, is dropped silently."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pool = kind(object)
            del pool
            gc.collect()


class TestFigures:
    def test_stats(self, make: Make) -> None:
        """Sizes and counts are those of what happened."""
        pool = make(max_size=2)
        a, b = pool.acquire(), pool.acquire()
        with pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.05)
        stats = pool.stats()
        assert (stats.size, stats.leased, stats.idle, stats.waiting) == (2, 2, 0, 0)
        assert stats.oldest_lease > 0.05
        counters = stats.counters
        assert (counters.requests, counters.granted, counters.timed_out, counters.opened) == (3, 2, 1, 2)
        assert counters.queued == stats.waits.count == 3
        assert stats.waits.longest >= 0.05
        assert stats.opens.count == 2
        pool.release(a)
        pool.release(b, reusable=False)
        counters = pool.stats().counters
        assert (counters.discarded, counters.open_failures) == (1, 0)
        assert counters.used_seconds >= 0.1

    def test_pop_stats(self, make: Make) -> None:
        """Counts begin at 0 again, sizes stay; what is told is frozen."""
        pool = make(max_size=2)
        pool.release(pool.acquire())
        assert pool.pop_stats().counters.requests == 1
        stats = pool.stats()
        assert (stats.counters.requests, stats.counters.opened, stats.size) == (0, 0, 1)
        assert (stats.waits.count, stats.opens.count) == (0, 0)
        with pytest.raises(AttributeError):
            stats.size = 3

    def test_events(self, make: Make, world: World) -> None:
        """Each change is told, with the pool's name; a listener that fails harms nobody."""
        pool = make(max_size=1)
        held = pool.acquire()
        with pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.01)
        pool.resize(max_size=2)
        pool.drain()
        pool.release(held)
        pool.close()
        expected = {Kind.OPENED, Kind.TIMED_OUT, Kind.RESIZED, Kind.DRAINED, Kind.CLOSED, Kind.POOL_CLOSED}
        wait_for(lambda: expected <= set(kinds(world)), "all events")
        assert {event.pool for event in world.events} == {"tested"}

    def test_a_listener_that_fails(self, make: Make) -> None:
        """Is logged, and harms nobody."""
        pool = make(max_size=1, on_event=lambda event: 1 / 0)
        pool.release(pool.acquire())


@pytest.mark.parametrize("kind", [ResourcePool, AsyncResourcePool])
@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 0}, {"min_size": -1}, {"min_size": 3, "max_size": 2}, {"max_waiting": -1}, {"timeout": 0},
        {"order": "random"}, {"max_idle": -1}, {"growth": -1}, {"backoff": 3}, {"keep_idle": False, "min_size": 1},
        {"check_after_idle": -1}, {"max_size": True}, {"open_timeout": float("inf")},
    ],
)  # fmt: skip
def test_bad_size(kind: Any, options: dict[str, Any]) -> None:
    """Options that make no sense are refused when the pool is made, and named."""
    with pytest.raises(ConfigurationError):
        kind(object, **options)
