"""Many tenants: a pool for each virtual host, URL or customer, made when it is needed, closed when nobody uses it.

Which pool gives way to which is decided in ``rmqpool.core.tenants``, under one lock. Pools are opened on the thread of who
asks for them and closed on threads of their own, always outside of that lock: a tenant whose broker is gone slows nobody
but its own callers.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import NoReturn
from urllib.parse import quote

from rmqpool.callables import plain_function
from rmqpool.core.tenants import Admission, Answer, Place, TenantBook
from rmqpool.errors import ConfigurationError, PoolClosedError, PoolTimeoutError, TooManyWaitingError
from rmqpool.pool import ConnectionPool
from rmqpool.pool_options import seconds
from rmqpool.pool_stats import PoolStats
from rmqpool.publisher import Publisher
from rmqpool.settings import ConnectionSettings
from rmqpool.topology import Topology

__all__ = ["ManagerStats", "PoolManager", "TenantStats"]

_PLACEHOLDER = "{tenant}"
_LOOK = 30.0  # seconds: the longest between two looks for pools that nobody uses
_SOON = 0.01
_IN_PLACE = 0.5  # seconds: for closing a pool without a thread of its own
Open = Callable[[str], "str | ConnectionSettings | ConnectionPool"]


@dataclass(frozen=True, slots=True)
class TenantStats:
    """``users`` of the tenant's pool now, how long nobody has used it (seconds), and its figures; None while it is opened."""

    users: int
    unused_seconds: float
    pool: PoolStats | None


@dataclass(frozen=True, slots=True)
class ManagerStats:
    """``closing`` pools are not counted in ``tenants``. ``evicted`` pools were closed to make room, ``expired`` ones because
    nobody used them; ``refused`` callers were told that all pools, or all places of a tenant, are in use."""

    max_pools: int
    tenants: Mapping[str, TenantStats]
    closing: int
    evicted: int
    expired: int
    refused: int


class _Tenant:
    """A tenant's pool and its publisher, which is made when somebody publishes."""

    def __init__(self, pool: ConnectionPool, declare: tuple[Topology, ...]) -> None:
        self.pool = pool
        self._declare = declare
        self._lock = threading.Lock()
        self._publisher: Publisher | None = None

    @property
    def publisher(self) -> Publisher:
        with self._lock:
            if self._publisher is None:
                self._publisher = Publisher(self.pool, declare=self._declare)
            return self._publisher

    def close(self, timeout: float) -> bool:
        """Publishes that are on their way come to their outcome first."""
        return self.pool.close(timeout)


class PoolManager:
    """A pool for each tenant. Thread-safe, fork-safe, a context manager.

    ``url`` is a URL with ``{tenant}`` in it, which stands for the tenant's name (percent-encoded), or a function that gets
    the name and returns a URL, settings or a ConnectionPool that is not open yet; it runs on the thread of who asks first.
    At most ``max_pools`` are there at a time: the one that was unused for longest is closed for another tenant's.
    ``max_users`` bounds who uses one tenant's pool at a time (0: no bound). A pool that nobody used for ``max_idle``
    seconds is closed; one that is closed has ``close_timeout`` seconds for messages on their way. ``declare`` is what each
    tenant's publisher declares. ``timeout`` (seconds) is how long a caller waits for a pool that somebody else is opening.

    Raises ConfigurationError for values that make no sense.
    """

    def __init__(
        self,
        url: str | Open,
        *,
        max_pools: int = 20,
        max_users: int = 0,
        max_idle: float = 300.0,
        timeout: float = 30.0,
        close_timeout: float = 10.0,
        declare: Iterable[Topology] = (),
    ) -> None:
        if not isinstance(url, str):
            plain_function("PoolManager: url", url, "make it def, which returns the tenant's URL")
        self._open = _from_template(url) if isinstance(url, str) else url
        self._declare = tuple(declare)
        self._bounds = (max_pools, max_users)
        self._max_idle = seconds("max_idle", max_idle)
        self._timeout = seconds("timeout", timeout)
        self._close_timeout = seconds("close_timeout", close_timeout)
        self._start_empty()
        _MANAGERS.add(self)

    def _start_empty(self) -> None:
        """No pool yet; also in a forked child, where the parent's pools are the parent's."""
        self._book: TenantBook[_Tenant] = TenantBook(*self._bounds)
        self._guard = threading.RLock()  # interrupted in its own `with`, a Condition stays locked
        self._changed = threading.Condition(self._guard)
        self._keeper: threading.Thread | None = None
        self._closing: set[threading.Thread] = set()
        self._refused = 0
        self._owner = os.getpid()

    # Using

    @contextmanager
    def pool(self, tenant: str, timeout: float | None = None) -> Iterator[ConnectionPool]:
        """The tenant's pool, which stays open for as long as the block lasts.

        Does not wait for the broker: what is done with the pool does, with deadlines of its own. Raises
        TooManyWaitingError when every pool is in use, or ``max_users`` use this one; PoolTimeoutError when somebody else is
        opening it for longer than ``timeout`` seconds; PoolClosedError; and what the function of the URL raises.
        """
        book, place, used = self._enter(tenant, self._timeout if timeout is None else seconds("timeout", timeout))
        try:
            yield used.pool
        finally:
            self._leave(book, place)

    @contextmanager
    def publisher(self, tenant: str, timeout: float | None = None) -> Iterator[Publisher]:
        """As :meth:`pool`, the tenant's publisher. Do not close it. What it has submitted goes on after the block."""
        book, place, used = self._enter(tenant, self._timeout if timeout is None else seconds("timeout", timeout))
        try:
            yield used.publisher
        finally:
            self._leave(book, place)

    def discard(self, tenant: str) -> None:
        """Close the tenant's pool once nobody uses it; who comes next gets a new one. For changed passwords and hosts."""
        with self._guard:
            gone = self._book.discard(tenant)
            self._close_soon(gone)

    def close(self, timeout: float = 10.0) -> bool:
        """Close every pool, used or not, all at once, within ``timeout`` seconds; True if all ended in time. Idempotent."""
        deadline = time.monotonic() + timeout
        with self._guard:
            self._close_soon(self._book.close(), timeout)
            self._changed.notify_all()
            threads = [*self._closing, *([self._keeper] if self._keeper is not None else [])]
        _MANAGERS.discard(self)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.05, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    # Telling

    def stats(self) -> ManagerStats:
        """Every tenant that has a pool now, and what was counted."""
        now = time.monotonic()
        with self._guard:
            book = self._book
            rows = [(place.tenant, place.users, place.since, place.pool) for place in reversed(book.places)]
            counted = (len(self._closing), book.evicted, book.expired, self._refused)
        tenants = {  # of a tenant whose discarded pool is used still, the new one is told
            tenant: TenantStats(
                users,
                0.0 if users or used is None else now - since,
                None if used is None else used.pool.stats(),
            )
            for tenant, users, since, used in rows
        }
        return ManagerStats(book.max_pools, MappingProxyType(tenants), *counted)

    def __repr__(self) -> str:
        with self._guard:
            places = self._book.places
            state = "closed" if self._book.closed else f"{sum(place.users > 0 for place in places)} in use"
            return f"<PoolManager {len(places)} of {self._bounds[0]} pools, {state}>"

    def __enter__(self) -> PoolManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Inside

    def _enter(self, tenant: str, timeout: float) -> tuple[TenantBook[_Tenant], Place[_Tenant], _Tenant]:
        taken: list[Place[_Tenant]] = []
        book = self._book
        try:
            place, used = self._take(book, tenant, timeout, taken)
            return book, place, self._opened(book, place) if used is None else used
        except BaseException:  # also KeyboardInterrupt: the place is free again, whoever waits for it opens the pool
            with self._guard:
                for place in taken:
                    self._give_up(book, place)
            raise

    def _take(
        self, book: TenantBook[_Tenant], tenant: str, timeout: float, taken: list[Place[_Tenant]]
    ) -> tuple[Place[_Tenant], _Tenant | None]:
        deadline = time.monotonic() + timeout
        with self._guard:
            answer = self._lease(book, tenant, taken)
            while answer.admission is Admission.WAIT:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise PoolTimeoutError(
                        f"the pool of tenant {tenant!r} is being opened by another thread for {timeout:g} s already"
                    )
                self._changed.wait(remaining)
                answer = self._lease(book, tenant, taken)
            place = answer.place
            if place is None:
                self._refuse(tenant, answer.admission)
            return place, place.pool

    def _give_up(self, book: TenantBook[_Tenant], place: Place[_Tenant]) -> None:
        if place.pool is not None:
            self._close_soon(book.release(place, time.monotonic()))
        else:
            book.open_failed(place)
            self._changed.notify_all()

    def _lease(self, book: TenantBook[_Tenant], tenant: str, taken: list[Place[_Tenant]]) -> Answer[_Tenant]:
        answer = book.lease(tenant, time.monotonic())
        place = answer.place
        if place is not None:
            taken.append(place)
        if place is not None and place.pool is not None and place.pool.pool.closed:
            # Somebody has closed it by hand: it goes, and this caller opens another one.
            taken.clear()
            self._close_soon(book.release(place, time.monotonic()))
            self._close_soon(book.discard(tenant))
            return self._lease(book, tenant, taken)
        self._close_soon(answer.close)
        return answer

    def _opened(self, book: TenantBook[_Tenant], place: Place[_Tenant]) -> _Tenant:
        """Without the lock: the function of the URL may ask somebody who takes long to answer."""
        made = self._open(place.tenant)
        pool = made if isinstance(made, ConnectionPool) else ConnectionPool(made)
        tenant = _Tenant(pool, self._declare)
        with self._guard:
            answer = book.opened(place, tenant)
            self._close_soon(answer.close)
            self._keep()
            self._changed.notify_all()
        if answer.admission is Admission.CLOSED:
            self._refuse(place.tenant, answer.admission)
        return tenant

    def _leave(self, book: TenantBook[_Tenant], place: Place[_Tenant]) -> None:
        with self._guard:
            users = place.users
            try:
                self._close_soon(book.release(place, time.monotonic()))
            except BaseException:  # interrupted; nobody else has changed the count
                if place.users == users:
                    self._close_soon(book.release(place, time.monotonic()))
                raise

    def _refuse(self, tenant: str, why: Admission) -> NoReturn:
        if why is Admission.CLOSED:
            raise PoolClosedError("the pool manager is closed: make a new one")
        self._refused += 1
        if why is Admission.BUSY:
            raise TooManyWaitingError(
                f"{self._bounds[1]} callers use the pool of tenant {tenant!r} already (max_users): raise it, or use the "
                "pool for less time"
            )
        users = sum(place.users for place in self._book.places)
        raise TooManyWaitingError(
            f"no pool for tenant {tenant!r}: all {self._bounds[0]} pools (max_pools) are in use, by {users} callers in all; "
            "raise max_pools, or use pools for less time"
        )

    def _close_soon(self, tenants: Iterable[_Tenant], timeout: float | None = None) -> None:
        """Each on a thread of its own: the broker of one may not answer. Under the lock; starting a thread is quick."""
        for tenant in tenants:
            thread = threading.Thread(
                target=self._close_one,
                args=(tenant, self._close_timeout if timeout is None else timeout),
                name="rmqpool closes a tenant's pool",
                daemon=True,
            )
            self._closing.add(thread)
            try:
                thread.start()
            except RuntimeError:  # no thread is to be had: too many, or the interpreter is ending
                self._closing.discard(thread)
                tenant.close(min(_IN_PLACE, self._close_timeout))

    def _close_one(self, tenant: _Tenant, timeout: float) -> None:
        try:
            tenant.close(timeout)
        finally:
            with self._guard:
                self._closing.discard(threading.current_thread())

    def _keep(self) -> None:
        if self._keeper is not None or self._book.closed:
            return
        keeper = threading.Thread(
            target=_keep, args=(weakref.ref(self), self._changed), name="rmqpool tenants", daemon=True
        )
        with suppress(RuntimeError):  # no thread is to be had now: the next one who opens a pool tries again
            keeper.start()
            self._keeper = keeper

    def expire(self) -> float:
        """Close what nobody has used for ``max_idle`` seconds. Seconds until it is time to look again; 0.0 once closed.

        A thread of the manager does this by itself.
        """
        with self._guard:
            if self._book.closed:
                return 0.0
            now = time.monotonic()
            self._close_soon(self._book.expire(now, self._max_idle))
            due = self._book.next_expiry(self._max_idle)
        longest = min(self._max_idle, _LOOK)
        return longest if due is None else max(_SOON, min(due - now, longest))

    def after_fork_in_child(self) -> None:
        """In a forked child: leases of the parent mean nothing here; the inherited pools open connections of their own."""
        if not self._book.closed:
            self._start_empty()


def _from_template(url: str) -> Open:
    if _PLACEHOLDER not in url:
        raise ConfigurationError(
            f"the URL of a pool manager names the tenant as {_PLACEHOLDER}: amqp://user:password@host/{_PLACEHOLDER}, or give "
            "a function that returns a tenant's URL"
        )

    def url_of(tenant: str) -> str:
        if not isinstance(tenant, str) or not tenant:  # no name would be another virtual host: the one called "/"
            raise ConfigurationError(f"a tenant's name is {tenant!r}; give text that is not empty")
        return url.replace(_PLACEHOLDER, quote(tenant, safe=""))

    return url_of


def _keep(reference: weakref.ref[PoolManager], changed: threading.Condition) -> None:
    """The keeper's thread: it ends with its manager, closed or dropped."""
    with changed:
        while (manager := reference()) is not None and (pause := manager.expire()):
            del manager
            changed.wait(pause)


# Fork and the interpreter's end

_MANAGERS: weakref.WeakSet[PoolManager] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for manager in list(_MANAGERS):
        manager.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
