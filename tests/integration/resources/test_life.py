"""What every pool promises of its own life: opened, closed, dropped, and what it tells meanwhile."""

from __future__ import annotations

import logging
import warnings
import weakref
from typing import Any

import pytest

from rmqpool import (
    AsyncResourcePool,
    ConnectionPool,
    PoolClosedError,
    PoolTimeoutError,
    ResourcePool,
    TooManyWaitingError,
)
from rmqpool import PoolEventKind as Kind
from tests.garbage import collect
from tests.integration.resources.conftest import Make
from tests.integration.resources.world import PATIENCE, World, elapsed, in_thread, wait_for


class TestBeginning:
    def test_nothing_before_the_first_use(self, make_of_things: Make, world: World) -> None:
        """A pool that was made has opened nothing, and started nothing."""
        pool = make_of_things(min_size=2)
        assert world.attempts == 0
        assert pool.leftovers() == []
        assert "not open yet" in repr(pool.pool)

    def test_open_explicit(self, make_any: Make) -> None:
        """Need not be: the first use opens the pool. After ``open`` nothing is different, after ``close`` nothing works."""
        for opened in (False, True):
            pool = make_any(max_size=1)
            assert not pool.pool.closed
            if opened:
                pool.open()
            pool.use()
            pool.close()
            assert pool.pool.closed
            with pytest.raises(PoolClosedError):
                pool.use()

    def test_open_context(self, make_any: Make) -> None:
        """``with pool`` opens it, and it is the pool that the block gets."""
        pool = make_any(min_size=1, max_size=1)
        pool.within(pool.use if not hasattr(pool, "loop") else lambda: None)
        assert pool.pool.closed

    def test_context(self, make_any: Make) -> None:
        """It is open in the block, and closed after it; also when the block ends with an error."""
        pool = make_any()
        with pytest.raises(ZeroDivisionError):
            pool.within(lambda: 1 / 0)
        assert pool.pool.closed
        assert pool.leftovers() == []

    def test_open_no_op(self, make_any: Make) -> None:
        """Opening twice is opening once."""
        pool = make_any(min_size=1, max_size=1)
        pool.open()
        pool.open()
        pool.use()
        pool.open(wait=False)
        assert pool.stats().leased == 0

    @pytest.mark.parametrize("ask", ["open", "wait"])
    def test_open_wait(self, make_with_idle: Make, ask: str) -> None:
        """Says when not all is open in time; the pool goes on, and waiting again is possible."""
        pool = make_with_idle(min_size=2)
        pool.deafen_server()
        with pytest.raises(PoolTimeoutError):
            getattr(pool, ask)(timeout=0.05)
        pool.mend_server()
        pool.wait()
        pool.wait(timeout=0.01)

    def test_wait_ready(self, make: Make, world: World) -> None:
        """With the numbers."""
        world.may_open.clear()
        pool = make(min_size=2)
        with pytest.raises(PoolTimeoutError, match="0 of 2 resources"):
            pool.open(timeout=0.05)
        world.may_open.set()
        pool.wait()
        assert pool.stats().idle == 2

    def test_wait_of_a_null_pool(self, make_null: Make, world: World) -> None:
        """There is nothing to wait for."""
        make_null().wait(timeout=0.01)
        assert world.attempts == 0


class TestEnding:
    def test_wait_closed(self, make_any: Make) -> None:
        """A closed pool opens no more, used or not."""
        for used in (False, True):
            pool = make_any(min_size=1)
            if used:
                pool.use()
            pool.close()
            for ask in (pool.open, pool.wait):
                with pytest.raises(PoolClosedError):
                    ask()

    def test_reopen(self, make_any: Make) -> None:
        """What is closed stays closed; closing again is harmless."""
        pool = make_any(min_size=1)
        pool.open()
        assert pool.close()
        assert pool.close()
        with pytest.raises(PoolClosedError):
            pool.open()
        with pytest.raises(PoolClosedError):
            pool.within(lambda: None)

    def test_close_no_tasks(self, make_any: Make) -> None:
        """After close no thread and no task of the pool is left."""
        pool = make_any(min_size=2)
        pool.open()
        pool.use()
        assert pool.close(PATIENCE)
        assert pool.leftovers() == []

    def test_close_connection_on_pool_close(self, make_any: Make) -> None:
        """close ends what is idle, and what is leased at the latest when it comes back."""
        pool = make_any(max_size=2)
        held, idle = pool.acquire(), pool.acquire()
        pool.release(idle)
        assert pool.close()
        assert not pool.is_open(idle)
        pool.release(held)
        wait_for(lambda: not pool.is_open(held), "its end")
        assert pool.size == 0

    def test_close_closes(self, make: Make) -> None:
        """What is leased may be used to its end. A channel ends with its connection."""
        pool = make(max_size=2)
        held, idle = pool.acquire(), pool.acquire()
        pool.release(idle)
        assert pool.close()
        assert idle.log == ["closed"]
        assert held.log == []
        pool.release(held)
        wait_for(lambda: held.log == ["closed"], "its end")

    def test_close_while_opening(self, make_of_things: Make, world: World) -> None:
        """An open that ends after close is closed, and close does not wait for ever."""
        world.may_open.clear()
        pool = make_of_things(max_size=1)
        waiting = pool.start()
        wait_for(lambda: world.opening == 1, "the open")
        assert elapsed(lambda: pool.close(0.2)) < PATIENCE
        with pytest.raises(PoolClosedError):
            waiting.result(PATIENCE)
        world.may_open.set()
        wait_for(lambda: world.open == [], "the end of what came late")

    def test_del_stops_threads(self, make_any: Make) -> None:
        """A pool that is dropped without close says so, and nothing of it goes on running."""
        pool = make_any(min_size=1, max_size=2)
        pool.use()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pool.drop()
            wait_for(
                lambda: pool.leftovers() == [] and (caught or not pool.warns_when_dropped), "the end of what it ran"
            )
        said = [str(warning.message) for warning in caught if "dropped without close" in str(warning.message)]
        assert len(said) == pool.warns_when_dropped

    @pytest.mark.parametrize("kind", [ResourcePool, AsyncResourcePool, ConnectionPool])
    def test_del_no_warning(self, kind: Any) -> None:
        """A pool that was never used is dropped silently."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pool = kind() if kind is ConnectionPool else kind(object)
            gone = weakref.ref(pool)
            del pool
            collect(gone)

    def test_del_no_warning_after_close(self, make_any: Make) -> None:
        """So is one that was closed."""
        pool = make_any(max_size=1)
        pool.use()
        pool.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pool.drop()


class TestTelling:
    def test_stats_measures(self, make_any: Make) -> None:
        """Sizes are those of the moment."""
        pool = make_any(max_size=2)
        held = [pool.acquire(), pool.acquire()]
        waiting = pool.start()
        wait_for(lambda: pool.stats().waiting == 1, "the one who waits")
        stats = pool.stats()
        assert (stats.leased, stats.idle, stats.opening, pool.size) == (2, 0, 0, 2)
        pool.release(held.pop())
        held.append(waiting.result(PATIENCE))
        for one in held:
            pool.release(one)
        stats = pool.stats()
        assert (stats.leased, stats.idle, stats.waiting) == (0, 2 if pool.keeps_idle else 0, 0)

    def test_stats_usage(self, make_any: Make) -> None:
        """Counts and times are those of what happened."""
        pool = make_any(max_size=1)
        held = pool.acquire()
        with pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.1)
        pool.release(held, reusable=False)
        pool.release(pool.acquire())
        figures = pool.figures()
        assert (figures["granted"], figures["timed_out"], figures["refused"]) == (2, 1, 0)
        assert figures["used_seconds"] >= 0.1
        assert figures["waits"] >= 2
        assert figures["opened"] == 2
        wait_for(lambda: pool.figures()["thrown_away"] == (1 if pool.keeps_idle else 2), "the end of what was broken")

    def test_stats_connect(self, make_of_things: Make, world: World) -> None:
        """Opens are counted and timed, failed ones too."""
        pool = make_of_things(max_size=2)
        world.failing = True
        with pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.2)
        world.failing = False
        pool.use()
        stats = pool.stats()
        assert stats.counters.open_failures >= 1
        assert stats.counters.opened == stats.create_time.count == 1
        assert stats.create_time.longest > 0

    def test_stats(self, make: Make) -> None:
        """All that is only the generic pool's, too."""
        pool = make(max_size=2)
        a, b = pool.acquire(), pool.acquire()
        with pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.05)
        stats = pool.stats()
        assert (stats.size, stats.leased, stats.idle, stats.waiting) == (2, 2, 0, 0)
        assert stats.longest_lease > 0.05
        counters = stats.counters
        assert (counters.requests, counters.granted, counters.timed_out, counters.opened) == (3, 2, 1, 2)
        assert counters.queued == 3
        assert stats.wait_time.count == stats.create_time.count == 2
        assert stats.errors == {"PoolTimeoutError": 1}
        pool.release(a)
        pool.release(b, reusable=False)
        pool.release(pool.acquire())
        stats = pool.stats()
        assert (stats.counters.thrown_away, stats.counters.lost, stats.counters.open_failures) == (1, 1, 0)
        assert (stats.wait_time.count, stats.use_time.count) == (3, 3)
        assert stats.use_time.total >= 0.1

    def test_pop_stats(self, make: Make) -> None:
        """Counts since the last call; sizes stay, stats() goes on counting; what is told is frozen."""
        pool = make(max_size=2)
        pool.release(pool.acquire())
        assert pool.pop_stats().counters.requests == 1
        stats = pool.pop_stats()
        assert (stats.counters.requests, stats.counters.opened, stats.size) == (0, 0, 1)
        assert (stats.wait_time.count, stats.use_time.count, stats.create_time.count) == (0, 0, 0)
        pool.release(pool.acquire())
        assert pool.pop_stats().use_time.count == 1
        assert pool.stats().use_time.count == pool.stats().counters.granted == 2
        with pytest.raises(AttributeError):
            stats.size = 3

    def test_errors_by_kind(self, make: Make, world: World) -> None:
        """Of opening and of callers; repr and the figures tell what is held for too long."""
        pool = make(max_size=1, max_waiting=1, leak_after=0.05)
        world.failing = True
        waiting = pool.start()
        wait_for(lambda: pool.stats().counters.open_failures >= 2, "failed opens")
        with pytest.raises(TooManyWaitingError):
            pool.acquire()
        world.failing = False
        held = waiting.result(PATIENCE)
        wait_for(lambda: pool.stats().overdue == 1, "the report")
        assert "1 held for too long" in repr(pool.pool)
        stats = pool.stats()
        assert stats.errors["ConnectionRefusedError"] == stats.counters.open_failures
        assert (stats.errors["TooManyWaitingError"], stats.counters.leaked) == (1, 1)
        pool.release(held)
        wait_for(lambda: pool.stats().overdue == 0, "its end")

    def test_health(self, make: Make, world: World) -> None:
        """The verdict follows what happens: unused, failing to open, well, a leak, closed."""
        pool = make(max_size=1, leak_after=0.05)
        assert (pool.health().kind, pool.health().reason) == ("ok", "nothing is open now")
        world.failing = True
        waiting = pool.start()
        wait_for(lambda: not pool.health().ready, "the bad news")
        assert "ConnectionRefusedError" in str(pool.health())
        world.failing = False
        held = waiting.result(PATIENCE)
        wait_for(lambda: pool.health().kind == "leak", "the report")
        pool.release(held)
        wait_for(lambda: pool.health().kind == "ok", "a pool that is well")
        pool.close()
        assert pool.health().kind == "closed"

    def test_health_after_an_outage(self, make: Make, world: World) -> None:
        """Who got nothing while opening failed asks for no larger pool, nor for faster growth."""
        pool = make(max_size=4)
        world.failing = True
        waiting = pool.start()
        wait_for(lambda: pool.stats().failures_in_a_row, "failed opens")
        with pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.01)
        world.failing = False
        held = waiting.result(PATIENCE)
        assert pool.stats().counters.away == 1
        assert pool.health().kind == "ok"
        pool.release(held)

    def test_events(self, make: Make, world: World) -> None:
        """Each change is told, with the pool's name."""
        pool = make(max_size=1)
        held = pool.acquire()
        with pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.01)
        pool.resize(max_size=2)
        pool.drain()
        pool.release(held)
        pool.close()
        expected = {Kind.OPENED, Kind.ACQUIRE_TIMED_OUT, Kind.RESIZED, Kind.DRAINED, Kind.CLOSED, Kind.POOL_CLOSED}
        wait_for(lambda: expected <= set(world.kinds), "all events")
        assert {event.pool for event in world.events} == {"tested"}

    def test_a_listener_that_fails(self, make_any: Make) -> None:
        """Is logged, and harms nobody."""
        pool = make_any(max_size=1, on_event=lambda *event: 1 / 0)
        pool.release(pool.acquire())

    def test_debug_deadlock(self, make_any: Make, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing is told under a lock: a listener may log the pool, and ask for its figures, whatever has happened."""
        caplog.set_level(logging.DEBUG)
        told: list[str] = []

        def listen(*event: object) -> None:
            told.append(f"{event}: {pool.pool!r} {pool.pool.stats()}")
            logging.getLogger("test").debug(told[-1])

        pool = make_any(max_size=1, max_waiting=1, on_event=listen)

        def live() -> None:
            held = pool.acquire()
            with pytest.raises(PoolTimeoutError):
                pool.acquire(timeout=0.01)
            pool.resize(max_size=2)
            pool.drain()
            pool.release(held, reusable=False)
            pool.use()
            pool.close()

        in_thread(live).result(PATIENCE)
        assert len(told) >= 5

    def test_repr(self, make_any: Make) -> None:
        """It tells the state."""
        pool = make_any(max_size=3)
        held = pool.acquire()
        assert "1 of 3" in repr(pool.pool)
        pool.release(held)
        pool.close()
        assert "closed" in repr(pool.pool)
