"""The book of tenants: its laws under any course of events, and each answer by itself."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from rmqpool.core.tenants import Admission, Place, TenantBook
from rmqpool.errors import ConfigurationError

MAX_POOLS = 3
MAX_USERS = 2
MAX_IDLE = 5.0
TENANTS = st.sampled_from("abcdef")


class Tenants(RuleBasedStateMachine):
    """A manager without I/O: pools are numbers, and everything that it is told to close is kept."""

    opening = Bundle("opening")
    used = Bundle("used")

    def __init__(self) -> None:
        super().__init__()
        self.book: TenantBook[int] = TenantBook(MAX_POOLS, MAX_USERS)
        self.now = 0.0
        self.pools = 0
        self.closed: list[int] = []
        self.users: dict[int, int] = {}  # a pool's users
        self.being_opened: dict[str, int] = {}

    def close(self, pools: tuple[int, ...], *, even_if_used: bool = False) -> None:
        for pool in pools:
            assert pool not in self.closed
            assert even_if_used or not self.users.get(pool)
            self.closed.append(pool)

    @rule(target=opening, tenant=TENANTS)
    def lease(self, tenant: str) -> object:
        idle = [place for place in self.book.places if place.pool is not None and not place.users]
        answer = self.book.lease(tenant, self.now)
        if answer.close:
            oldest = min(idle, key=lambda place: place.since)
            assert self.book.evicted
            assert [place.since for place in idle if place.pool in answer.close] == [oldest.since]
        self.close(answer.close)
        if answer.admission is Admission.OPEN:
            assert not [
                other
                for other in self.book.places
                if other.tenant == tenant and other is not answer.place and not other.discarded
            ]
            return answer.place
        if answer.admission is Admission.FULL:
            assert not idle
        if answer.admission is Admission.GRANTED:
            assert answer.place is not None
            self.grant(answer.place)
        return (answer.place, answer.admission)

    def grant(self, place: Place[int]) -> None:
        assert place.pool is not None
        assert place.pool not in self.closed
        self.users[place.pool] = self.users.get(place.pool, 0) + 1
        assert self.users[place.pool] <= MAX_USERS

    @rule(target=used, began=consumes(opening), works=st.booleans())
    def open_ends(self, began: object, works: bool) -> object:
        if isinstance(began, tuple):
            return began[0] if began[1] is Admission.GRANTED else None
        assert isinstance(began, Place)
        if not works:
            self.book.open_failed(began)
            return None
        self.pools += 1
        answer = self.book.opened(began, self.pools)
        self.close(answer.close)
        if answer.admission is Admission.CLOSED:
            return None
        self.grant(began)
        return began

    @rule(place=consumes(used))
    def release(self, place: Place[int] | None) -> None:
        if place is None:
            return
        assert place.pool is not None
        self.users[place.pool] -= 1
        self.close(self.book.release(place, self.now))

    @rule(tenant=TENANTS)
    def discard(self, tenant: str) -> None:
        self.close(self.book.discard(tenant))

    @rule(seconds=st.floats(0, 2 * MAX_IDLE))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = self.book.next_expiry(MAX_IDLE)
        gone = self.book.expire(self.now, MAX_IDLE)
        assert bool(gone) == (due is not None and self.now - (due - MAX_IDLE) >= MAX_IDLE)
        self.close(gone)

    @invariant()
    def there_are_never_too_many(self) -> None:
        assert len(self.book.places) <= MAX_POOLS

    def teardown(self) -> None:
        self.close(self.book.close(), even_if_used=True)
        assert sorted(self.closed) == list(range(1, self.pools + 1)), "each pool is closed once"


TestTenants = Tenants.TestCase
TestTenants.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def opened(book: TenantBook[str], tenant: str, now: float = 0.0) -> Place[str]:
    answer = book.lease(tenant, now)
    assert answer.admission is Admission.OPEN
    assert answer.place is not None
    assert book.opened(answer.place, f"pool of {tenant}").admission is Admission.GRANTED
    return answer.place


def test_the_second_caller_waits_for_the_first_ones_open() -> None:
    """And gets the same pool; another tenant's caller does not wait."""
    book: TenantBook[str] = TenantBook(2)
    place = book.lease("a", 0).place
    assert place is not None
    assert book.lease("a", 0).admission is Admission.WAIT
    assert book.lease("b", 0).admission is Admission.OPEN
    book.opened(place, "pool")
    assert book.lease("a", 0).place is place


def test_a_failed_open_frees_its_place() -> None:
    """The next caller opens by itself."""
    book: TenantBook[str] = TenantBook(1)
    place = book.lease("a", 0).place
    assert place is not None
    book.open_failed(place)
    assert book.lease("b", 0).admission is Admission.OPEN


def test_the_least_recently_used_gives_way() -> None:
    """Not the one that was opened first."""
    book: TenantBook[str] = TenantBook(2)
    first, second = opened(book, "a"), opened(book, "b")
    book.release(second, 1)
    book.release(first, 2)
    assert book.lease("c", 3).close == ("pool of b",)


def test_all_in_use_is_an_honest_no() -> None:
    """Nothing that is used is closed."""
    book: TenantBook[str] = TenantBook(1)
    opened(book, "a")
    assert book.lease("b", 0).admission is Admission.FULL


def test_one_tenant_cannot_take_more_than_its_part() -> None:
    """Its further callers are told so."""
    book: TenantBook[str] = TenantBook(2, max_users=1)
    place = opened(book, "a")
    assert book.lease("a", 0).admission is Admission.BUSY
    book.release(place, 0)
    assert book.lease("a", 0).admission is Admission.GRANTED


def test_a_discarded_pool_ends_with_its_last_user() -> None:
    """Who comes meanwhile gets a new one, and its place counts until then."""
    book: TenantBook[str] = TenantBook(2)
    old = opened(book, "a")
    assert book.discard("a") == ()
    new = opened(book, "a")
    assert book.lease("b", 0).admission is Admission.FULL
    assert book.release(old, 1) == ("pool of a",)
    assert book.release(new, 1) == ()
    assert book.discard("a") == ("pool of a",)
    assert book.discard("a") == ()


def test_what_is_opened_after_the_close_is_closed_at_once() -> None:
    """And nobody gets anything more."""
    book: TenantBook[str] = TenantBook(2)
    used = opened(book, "a")
    place = book.lease("b", 0).place
    assert place is not None
    assert book.close() == ("pool of a",)
    assert book.opened(place, "late").close == ("late",)
    assert book.release(used, 0) == ()
    assert book.lease("a", 0).admission is Admission.CLOSED
    assert book.closed


@pytest.mark.parametrize(("pools", "users"), [(0, 0), (1, -1)])
def test_bounds_that_make_no_sense_are_refused(pools: int, users: int) -> None:
    """At once, with what to give."""
    with pytest.raises(ConfigurationError, match="at least 1 pool"):
        TenantBook(pools, users)
