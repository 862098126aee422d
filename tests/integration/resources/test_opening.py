"""What every pool promises of opening: the minimum, who waits for what, and what happens while nothing can be opened."""

from __future__ import annotations

import pytest

from rmqpool import ConfigurationError, PoolTimeoutError
from rmqpool import PoolEventKind as Kind
from tests.integration.resources.conftest import Make
from tests.integration.resources.world import PATIENCE, World, wait_for


class TestTheMinimum:
    """A ConnectionPool has no minimum of channels: they are opened within a millisecond, on a connection that is there."""

    def test_min_size_max_size(self, make: Make, world: World) -> None:
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

    def test_setup_error(self, make: Make, world: World) -> None:
        """When nothing can be opened, the error of open is the cause."""
        world.failing = True
        pool = make(min_size=1)
        with pytest.raises(PoolTimeoutError) as caught:
            pool.open(timeout=0.3)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    def test_refill_on_check(self, make: Make, world: World) -> None:
        """A check that finds all of them dead empties the pool; the minimum comes back once it can be opened again."""
        pool = make(min_size=3)
        pool.open()
        world.kill()
        assert pool.check() == 3
        assert pool.stats().idle == 0
        world.failing = False
        pool.wait()
        assert pool.check() == 0
        assert pool.stats().idle == 3

    def test_reconnect_after_grow_failed(self, make: Make, world: World) -> None:
        """Opening goes on for the minimum after all who waited were told that it failed, and they have left."""
        world.failing = True
        pool = make(min_size=2, max_size=3, reconnect_timeout=0.1)
        pool.open(wait=False)
        wait_for(lambda: world.kinds.count(Kind.RECONNECT_FAILED) >= 1, "the failure")
        with pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.2)
        told = world.kinds.count(Kind.RECONNECT_FAILED)
        wait_for(lambda: world.kinds.count(Kind.RECONNECT_FAILED) > told, "the next failure")
        world.failing = False
        pool.release(pool.acquire())
        pool.wait()
        wait_for(lambda: pool.stats().idle >= 2, "the minimum")


class TestWaiting:
    def test_waits_for_the_pool_only(self, make_of_things: Make, world: World) -> None:
        """Whoever is waiting for an open takes what another one gives back; the open is for the next."""
        pool = make_of_things(max_size=2)
        held = pool.acquire()
        world.may_open.clear()
        waiting = pool.start()
        wait_for(lambda: world.opening == 1, "the open")
        pool.release(held)
        assert waiting.result(PATIENCE) is held
        world.may_open.set()
        wait_for(lambda: pool.stats().idle == int(pool.keeps_idle) and not pool.stats().opening, "what came late")
        pool.release(held)

    def test_open_is_left_to_the_next(self, make_of_things: Make, world: World) -> None:
        """A caller that times out leaves its open to whoever comes next."""
        world.may_open.clear()
        pool = make_of_things(max_size=2)
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

    def test_timeout_zero_takes_what_is_free(self, make_with_idle: Make) -> None:
        """Of channels as of anything else: what is idle is lent, and nobody waits for what another one holds."""
        pool = make_with_idle(max_size=1)
        held = pool.acquire()
        with pytest.raises(PoolTimeoutError, match="within 0 s"):
            pool.acquire(timeout=0)
        pool.release(held)
        wait_for(lambda: pool.stats().idle == 1, "the one that came back")
        pool.release(pool.acquire(timeout=0))

    def test_setup_no_timeout_of_open(self, make_of_things: Make, world: World) -> None:
        """An open that hangs has failed after open_timeout; what it brings late is closed."""
        world.may_open.clear()
        pool = make_of_things(max_size=1, open_timeout=0.1)
        waiting = pool.start()
        wait_for(lambda: world.attempts >= 2, "the next attempt")
        world.may_open.set()
        held = waiting.result(PATIENCE)
        wait_for(lambda: world.open == [held], "the end of those that came late")
        pool.release(held)

    def test_same_object_twice(self, make_of_things: Make, world: World) -> None:
        """An open that returns what the pool has already is an error, not two leases of one resource."""
        pool = make_of_things(max_size=2)
        held = pool.acquire()
        world.end_open = lambda: held  # type: ignore[method-assign]
        with pytest.raises(PoolTimeoutError) as caught:
            pool.acquire(timeout=0.2)
        assert isinstance(caught.value.__cause__, ConfigurationError)
        del world.end_open
        pool.release(held)


class TestAServerThatIsAway:
    def test_setup_no_timeout(self, make_any: Make) -> None:
        """A pool may be made and used before its server is there: callers are told the cause, later ones are served."""
        pool = make_any(max_size=1)
        pool.break_server()
        with pytest.raises(PoolTimeoutError) as caught:
            pool.acquire(timeout=0.5)
        assert caught.value.__cause__ is not None
        pool.mend_server()
        pool.release(pool.acquire())

    def test_reconnect(self, make_any: Make) -> None:
        """What was open died with the server; a caller that waits all the while is served when it is back."""
        pool = make_any(max_size=1, check_after_idle=0)
        first = pool.use()
        pool.break_server()
        waiting = pool.start()
        wait_for(lambda: pool.server_is_missed, "the failure")
        pool.mend_server()
        held = waiting.result(PATIENCE)
        assert pool.identity(held) != first
        pool.release(held)
        assert not pool.server_is_missed

    def test_reconnect_failure(self, make_of_things: Make, world: World) -> None:
        """After reconnect_timeout whoever waits is told, with the cause; later callers are served when it is over.

        A ConnectionPool goes on trying for as long as anybody waits: each caller's own timeout says when to give up.
        """
        world.failing = True
        pool = make_of_things(max_size=1, reconnect_timeout=0.3)
        with pytest.raises(PoolTimeoutError, match=r"could be opened for 0\.3 s") as caught:
            pool.acquire()
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        wait_for(lambda: Kind.RECONNECT_FAILED in world.kinds, "the event")
        assert pool.stats().counters.reconnects_failed == 1
        world.failing = False
        pool.release(pool.acquire())

    def test_one_probe_while_opening_fails(self, make_of_things: Make, world: World) -> None:
        """A server that is away is not besieged."""
        world.failing = True
        pool = make_of_things(max_size=8, growth=0)
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

    def test_no_attempts_for_nobody(self, make_of_things: Make, world: World) -> None:
        """When all callers have left, a failed open is not tried again."""
        world.failing = True
        pool = make_of_things(max_size=1)
        with pytest.raises(PoolTimeoutError) as caught:
            pool.acquire(timeout=0.2)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        wait_for(lambda: pool.stats().opening == 0, "the end of the attempts")
