"""What every pool promises of what it lends, and of what comes back to it."""

from __future__ import annotations

from typing import Any

import pytest

from rmqpool import LeaseReleasedError
from tests.integration.resources.conftest import Make
from tests.integration.resources.world import PATIENCE, World, wait_for


def test_its_really_a_pool(make_with_idle: Make) -> None:
    """Two at a time are two; the next caller gets one of them."""
    pool = make_with_idle(max_size=2)
    held = [pool.acquire(), pool.acquire()]
    both = {pool.identity(one) for one in held}
    assert len(both) == 2
    for one in held:
        pool.release(one)
    assert pool.use() in both
    assert pool.figures()["opened"] == 2


def test_its_no_pool_at_all(make_null: Make) -> None:
    """A null pool makes a new one for each caller, and bounds how many there are."""
    pool = make_null(max_size=2)
    held = [pool.acquire(), pool.acquire()]
    both = {pool.identity(one) for one in held}
    assert len(both) == 2
    for one in held:
        pool.release(one)
    assert pool.use() not in both


def test_connection_not_lost(make_any: Make) -> None:
    """An exception in the block is not swallowed, and neither the resource nor its place is lost by it."""
    pool = make_any(max_size=1)
    first = pool.use()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            pool.use(fail=True)
    assert (pool.use() == first) is pool.keeps_idle
    assert pool.stats().leased == 0


def test_broken_reconnect(make_any: Make) -> None:
    """What its user calls broken is closed, its place is free at once, and the next caller gets a new one."""
    pool = make_any(max_size=1)
    held = pool.acquire()
    first = pool.identity(held)
    waiting = pool.start()
    wait_for(lambda: pool.stats().waiting == 1, "the next in line")
    pool.release(held, reusable=False)
    served = waiting.result(PATIENCE)
    assert pool.identity(served) != first
    pool.release(served)


def test_closed_putconn(make_any: Make) -> None:
    """What comes back to a pool stays open; what comes back to a null pool is closed."""
    pool = make_any(max_size=1)
    pool.use()
    if pool.keeps_idle:
        assert (pool.size, pool.stats().idle) == (1, 1)
    else:
        wait_for(lambda: pool.size == 0, "its end")
        assert pool.stats().idle == 0


def test_close_returns(make_any: Make) -> None:
    """Closing a lease gives the resource back, open as it was; closing again, and the end of the block, do nothing then."""
    pool = make_any(max_size=1)
    thing = pool.close_inside()
    stats = pool.stats()
    assert (stats.leased, stats.idle) == (0, int(pool.keeps_idle))
    assert (pool.use() == pool.identity(thing)) is pool.keeps_idle
    assert pool.figures()["granted"] == 2


def test_close_returns_no_loop(make_any: Make) -> None:
    """A lease closed when its resource's time was over ends that resource, and nothing goes round in circles."""
    pool = make_any(max_size=1, max_lifetime=0.000001)
    seen = {pool.identity(pool.close_inside()) for _ in range(3)}
    assert len(seen) == 3
    wait_for(lambda: pool.size == 0, "the end of all")
    assert (pool.figures()["opened"], pool.figures()["thrown_away"]) == (3, 3)


def test_discard(make: Make) -> None:
    """A lease may say that its resource is broken. A channel knows that by itself."""
    pool = make(max_size=1)
    thing = pool.discard_inside()
    wait_for(lambda: "closed" in thing.log, "its end")
    assert pool.use() != thing.number


def test_putconn_twice(make_any: Make) -> None:
    """Nothing that was given back can be given back at the cost of its next holder."""
    pool = make_any(max_size=1)
    held = pool.acquire()
    pool.release(held)
    if hasattr(held, "basic_publish"):  # a channel's second release does nothing
        held.release()
    else:
        with pytest.raises(LeaseReleasedError, match="released"):
            pool.release(held)
    other = pool.acquire()
    assert pool.stats().leased == 1
    pool.release(other)


def test_putconn_no_pool(make_of_things: Make) -> None:
    """What was never of a pool cannot be given to it. A channel has its own ``release``, and cannot go astray."""
    pool = make_of_things()
    with pytest.raises(LeaseReleasedError, match="not of this pool"):
        pool.release(object())


def test_putconn_wrong_pool(make_of_things: Make) -> None:
    """Nor what is another pool's; nothing changes there."""
    one, other = make_of_things(), make_of_things()
    held = one.acquire()
    with pytest.raises(LeaseReleasedError, match="not of this pool"):
        other.release(held)
    assert one.stats().leased == 1
    one.release(held)


@pytest.mark.parametrize("error", [None, ValueError("no such setting")])
def test_configure(make_of_things: Make, world: World, error: Exception | None) -> None:
    """``open`` configures what it makes: once for each resource, and one that it could not configure is never lent."""
    pool = make_of_things(max_size=1)
    plain, configured = world.end_open, list[Any]()

    def configure() -> Any:
        configured.append(plain())
        if error is not None and len(configured) == 1:
            raise error
        return configured[-1]

    world.end_open = configure  # type: ignore[method-assign]
    first = pool.use()
    assert first == (1 if error is None else 2)
    assert (pool.use() == first) is pool.keeps_idle
    assert len(configured) == (1 if pool.keeps_idle else 2) + (error is not None)


class TestResetting:
    """The channel of a ConnectionPool is not reset: one that is unclean is never lent again, see test_pool_leases."""

    def test_reset(self, make_of_things: Make, world: World) -> None:
        """Each resource is reset when it comes back, before anybody else gets it."""
        pool = make_of_things(max_size=1, reset=True)
        held = pool.acquire()
        waiting = pool.start()
        wait_for(lambda: pool.stats().waiting == 1, "the next one")
        pool.release(held)
        assert waiting.result(PATIENCE) is held
        assert held.log == ["reset"]
        pool.release(held)

    def test_reset_broken(self, make_of_things: Make, world: World) -> None:
        """What cannot be reset is closed and replaced, for who waits already, too."""
        pool = make_of_things(max_size=1, reset=True)
        held = pool.acquire()
        waiting = pool.start()
        wait_for(lambda: pool.stats().waiting == 1, "the next one")
        world.reset_failing = True
        pool.release(held)
        other = waiting.result(PATIENCE)
        assert other is not held
        world.reset_failing = False
        wait_for(lambda: held.log == ["reset", "closed"], "its end")
        assert world.kinds.count(world.kinds[0].RESET_FAILED) == 1
        pool.release(other)

    def test_inerror_rollback(self, make: Make) -> None:
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
