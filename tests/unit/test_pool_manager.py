"""Many tenants without any broker: who opens, who waits, who gives way. A pool opens no connection before it is used."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from background import in_thread

from rmqpool import (
    ConfigurationError,
    ConnectionPool,
    PoolClosedError,
    PoolManager,
    PoolTimeoutError,
    TooManyWaitingError,
)
from rmqpool.settings import ConnectionSettings
from rmqpool.testing.waiting import wait_until
from tests.garbage import collect_until
from tests.interrupts import interrupts

PATIENCE = 60.0  # seconds: for a machine that is much slower
URL = "amqp://shop:s3cret@127.0.0.1/"

MakeManager = Callable[..., PoolManager]


@pytest.fixture
def make_manager() -> Iterator[MakeManager]:
    """Makes managers; all are closed at the end, and their threads are gone then."""
    managers: list[PoolManager] = []

    def make(url: Any = "amqp://shop:s3cret@127.0.0.1/{tenant}", **options: Any) -> PoolManager:
        managers.append(PoolManager(url, **options))
        return managers[-1]

    yield make
    for manager in managers:
        assert manager.close(PATIENCE)


def vhost_of(manager: PoolManager, tenant: str) -> str:
    with manager.pool(tenant) as pool:
        return pool.settings.vhost


def test_each_tenant_has_a_pool_of_its_own(make_manager: MakeManager) -> None:
    """The same one each time; a name may hold anything."""
    manager = make_manager()
    with manager.pool("a") as one, manager.pool("b") as two:
        assert one is not two
    with manager.pool("a") as again:
        assert again is one
    assert vhost_of(manager, "with/slash and %") == "with/slash and %"


def test_a_function_may_give_a_url_settings_or_a_pool(make_manager: MakeManager) -> None:
    """It decides the options, too."""
    given: dict[str, str | ConnectionSettings | ConnectionPool] = {
        "url": URL + "one",
        "settings": ConnectionSettings(vhost="two"),
        "pool": ConnectionPool(URL + "three", channels_per_connection=2),
    }
    manager = make_manager(given.__getitem__)
    assert [vhost_of(manager, tenant) for tenant in given] == ["one", "two", "three"]
    with pytest.raises(KeyError):
        vhost_of(manager, "nobody")
    assert set(manager.stats().tenants) == set(given)


def test_a_slow_opening_holds_up_nobody_else(make_manager: MakeManager) -> None:
    """While one tenant's URL is looked up and its second caller waits, others open, use, give way and are closed."""
    asked, answer = threading.Event(), threading.Event()

    def url_of(tenant: str) -> str:
        if tenant == "slow":
            asked.set()
            assert answer.wait(PATIENCE)
        return URL + tenant

    manager = make_manager(url_of, max_pools=2)
    opener, opened = in_thread(lambda: vhost_of(manager, "slow"))
    assert asked.wait(PATIENCE)
    second, waited = in_thread(lambda: vhost_of(manager, "slow"))
    for tenant in ("a", "b", "c", "a"):  # one place is left for all of them
        assert vhost_of(manager, tenant) == tenant
    manager.discard("a")
    assert manager.stats().evicted == 3
    assert manager.stats().tenants["slow"].pool is None
    assert opener.is_alive()
    assert second.is_alive()
    answer.set()
    opener.join()
    second.join()
    assert opened == waited == ["slow"]


def test_who_waits_for_another_ones_opening_does_so_until_the_timeout(make_manager: MakeManager) -> None:
    """And is told for what."""
    asked, answer = threading.Event(), threading.Event()

    def url_of(tenant: str) -> str:
        asked.set()
        assert answer.wait(PATIENCE)
        return URL + tenant

    manager = make_manager(url_of)
    opener, opened = in_thread(lambda: vhost_of(manager, "slow"))
    assert asked.wait(PATIENCE)
    with pytest.raises(PoolTimeoutError, match="'slow' is being opened by another thread"), manager.pool("slow", 0.05):
        pass
    answer.set()
    opener.join()
    assert opened == ["slow"]


def test_a_failed_opening_is_its_callers_error_and_nobody_elses(make_manager: MakeManager) -> None:
    """Who waits for it opens by itself."""
    asked, answer = threading.Event(), threading.Event()
    failures = iter([LookupError("no such tenant yet")])

    def url_of(tenant: str) -> str:
        asked.set()
        assert answer.wait(PATIENCE)
        for failure in failures:
            raise failure
        return URL + tenant

    manager = make_manager(url_of, max_pools=1)
    first, one = in_thread(lambda: vhost_of(manager, "new"))
    assert asked.wait(PATIENCE)
    second, two = in_thread(lambda: vhost_of(manager, "new"))
    answer.set()
    first.join()
    second.join()
    assert sorted(map(str, one + two)) == ["new", "no such tenant yet"]


def test_the_least_recently_used_gives_way_and_what_is_used_never_does(make_manager: MakeManager) -> None:
    """All in use is an honest no, with the numbers."""
    manager = make_manager(max_pools=2)
    with manager.pool("a") as a, manager.pool("b"):
        with pytest.raises(TooManyWaitingError, match=r"'c'.*all 2 pools \(max_pools\) are in use, by 2 callers"):
            vhost_of(manager, "c")
        assert not a.closed
    with manager.pool("b") as b:
        vhost_of(manager, "c")  # in the place of a
        assert not b.closed
    wait_until(lambda: a.closed, "the end of the unused pool", timeout=PATIENCE)
    assert set(manager.stats().tenants) == {"b", "c"}
    assert (manager.stats().evicted, manager.stats().refused) == (1, 1)


def test_one_tenant_cannot_take_more_than_its_part(make_manager: MakeManager) -> None:
    """Its further callers are told so; others are not touched."""
    manager = make_manager(max_users=1)
    with manager.pool("a"):
        with pytest.raises(TooManyWaitingError, match=r"1 callers use the pool of tenant 'a' already \(max_users\)"):
            vhost_of(manager, "a")
        assert vhost_of(manager, "b") == "b"
    assert vhost_of(manager, "a") == "a"


def test_a_pool_that_nobody_uses_is_closed(make_manager: MakeManager) -> None:
    """After max_idle seconds, by itself; one that is used is not."""
    manager = make_manager(max_idle=0.05)
    with manager.pool("used") as used:
        with manager.pool("unused") as unused:
            pass
        wait_until(lambda: manager.stats().expired == 1, "the end of the unused pool", timeout=PATIENCE)
        wait_until(lambda: unused.closed, "the end of the unused pool", timeout=PATIENCE)
        assert not used.closed
        assert set(manager.stats().tenants) == {"used"}


def test_a_discarded_pool_ends_with_its_last_user(make_manager: MakeManager) -> None:
    """Who comes next gets a new one: for a changed password."""
    manager = make_manager()
    with manager.pool("a") as old:
        manager.discard("a")
        with manager.pool("a") as new:
            assert new is not old
            assert not old.closed
    wait_until(lambda: old.closed, "the end of the old pool", timeout=PATIENCE)
    assert not new.closed
    manager.discard("nobody")


def test_a_pool_that_somebody_closed_is_replaced(make_manager: MakeManager) -> None:
    """Otherwise its tenant would be shut out for good."""
    manager = make_manager()
    with manager.pool("a") as closed:
        closed.close()
        with manager.pool("a") as fresh:
            assert not fresh.closed
    assert vhost_of(manager, "a") == "a"
    with manager.pool("a") as again:
        assert again is fresh


def test_a_closed_manager_gives_nothing_more(make_manager: MakeManager) -> None:
    """Its pools are closed, used or not, and so is one whose opening ends later."""
    asked, answer = threading.Event(), threading.Event()
    late: list[ConnectionPool] = []

    def pool_of(tenant: str) -> ConnectionPool:
        pool = ConnectionPool(URL + tenant)
        if tenant == "late":
            late.append(pool)
            asked.set()
            assert answer.wait(PATIENCE)
        return pool

    manager = make_manager(pool_of)
    opener, opened = in_thread(lambda: vhost_of(manager, "late"))
    assert asked.wait(PATIENCE)
    with manager.pool("used") as used:
        assert manager.close(PATIENCE)
        assert used.closed
    answer.set()
    opener.join()
    assert isinstance(opened[0], PoolClosedError)
    wait_until(lambda: late[0].closed, "the end of the late pool", timeout=PATIENCE)
    with pytest.raises(PoolClosedError):
        vhost_of(manager, "a")
    assert repr(manager) == "<PoolManager 0 of 20 pools, closed>"


def test_a_dropped_manager_leaves_no_thread() -> None:
    """Its keeper ends with it."""

    def keeper_of_a_dropped_one() -> threading.Thread:
        manager = PoolManager(URL + "{tenant}", max_idle=0.02)
        vhost_of(manager, "a")
        wait_until(lambda: manager.stats().expired == 1 and not manager.stats().closing, "the end", timeout=PATIENCE)
        assert manager._keeper is not None
        return manager._keeper

    keeper = keeper_of_a_dropped_one()
    collect_until(lambda: not keeper.is_alive(), "the end of its keeper")


def test_without_a_thread_to_be_had_pools_are_closed_all_the_same(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the interpreter's end, or when there are too many."""

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    manager = make_manager()
    with manager.pool("a") as pool:
        monkeypatch.setattr(threading.Thread, "start", no_thread)
        assert manager.close(PATIENCE)
        assert pool.closed


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_starts_empty(make_manager: MakeManager) -> None:
    """What the parent leases is the parent's; the child may use the same manager."""
    manager = make_manager(max_pools=1)
    with manager.pool("a"):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert manager.stats().tenants == {}
                assert vhost_of(manager, "b") == "b"
                assert manager.close(PATIENCE)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
    assert status == 0
    assert set(manager.stats().tenants) == {"a"}


def test_a_repr_tells_the_state_and_no_secret(make_manager: MakeManager) -> None:
    """Of every value that it hands out, too."""
    manager = make_manager(max_pools=3)
    with manager.pool("a"):
        assert repr(manager) == "<PoolManager 1 of 3 pools, 1 in use>"
        assert "s3cret" not in repr(manager.stats())


@pytest.mark.parametrize("tenant", ["", 3, None])
def test_a_tenant_without_a_name_has_no_pool(make_manager: MakeManager, tenant: Any) -> None:
    """In a URL no name would be another virtual host, the one called "/", which is not that tenant's."""
    manager = make_manager()
    with pytest.raises(ConfigurationError, match="a tenant's name is"):
        vhost_of(manager, tenant)
    assert not manager.stats().tenants


@pytest.mark.parametrize(
    ("url", "options", "told"),
    [
        pytest.param(URL, {}, r"\{tenant\}", id="no placeholder"),
        pytest.param(URL + "{tenant}", {"max_pools": 0}, "at least 1 pool", id="no pools"),
        pytest.param(URL + "{tenant}", {"max_idle": 0}, "max_idle", id="no idle time"),
    ],
)
def test_values_that_make_no_sense_are_refused(url: str, options: dict[str, Any], told: str) -> None:
    """At once."""
    with pytest.raises(ConfigurationError, match=told) as refused:
        PoolManager(url, **options)
    assert "s3cret" not in str(refused.value)


def test_an_interrupt_takes_no_place_and_no_lock(make_manager: MakeManager) -> None:
    """Wherever a signal handler raises while a pool is borrowed: the next caller has it, on whichever thread."""
    manager = make_manager(max_pools=1, max_users=1, timeout=PATIENCE)

    def work() -> None:
        with manager.pool("shop"):
            pass

    def check(place: str) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"after {place}"
        assert [tenant.users for tenant in manager.stats().tenants.values()] == [0], f"after {place}"

    places = 0
    for place in interrupts(work):
        check(place)
        manager.discard("shop")
        places += 1
    assert places > 10
