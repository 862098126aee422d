"""Leases that last: found once, at the right time, and told with two stacks."""

from __future__ import annotations

import threading

from rmqpool.core.ledger import Lease
from rmqpool.leaks import LeakWatch, report_overdue
from rmqpool.pool_events import PoolEventKind
from rmqpool.tickets import Ticket


def lease(seconds: float) -> Lease[object, Ticket]:
    return Lease(Ticket(), object(), seconds)


def test_each_lease_is_reported_once() -> None:
    """Whoever is told again and again stops reading."""
    watch = LeakWatch(10)
    leases = [lease(12), lease(10), lease(9.9)]
    assert watch.overdue(leases) == [leases[0].waiter, leases[1].waiter]
    assert watch.overdue(leases) == []
    assert watch.leaked == 2


def test_the_next_look_is_when_the_next_one_may_be_overdue() -> None:
    """Not before, and not much later; a lease that was told of needs no look."""
    watch = LeakWatch(10)
    leases = [lease(12), lease(7)]
    watch.overdue(leases)
    assert watch.next_look(leases) == 3
    assert watch.next_look([]) == 10


def test_without_leak_after_nothing_is_found() -> None:
    """A lease that consumes may last for ever."""
    assert LeakWatch(None).overdue([lease(1e9)]) == []


def test_a_report_tells_where_it_was_borrowed_and_what_the_thread_does_now() -> None:
    """A thread that has ended is said to have."""
    tickets: list[Ticket] = []
    told: list[tuple[PoolEventKind, str]] = []
    busy = threading.Event()

    def acquire() -> Ticket:
        return Ticket()

    def lease_a_channel() -> Ticket:
        return acquire()

    def hold_it() -> None:
        tickets.append(lease_a_channel())
        busy.wait(60)

    thread = threading.Thread(target=hold_it, name="forgetful")
    thread.start()
    while not tickets:
        thread.join(0.001)
    report_overdue(tickets, 5.0, lambda *event: told.append(event))
    busy.set()
    thread.join()
    report_overdue(tickets, 5.0, lambda *event: told.append(event))
    (event, first), (_, second) = told
    assert event is PoolEventKind.LEASE_OVERDUE
    assert "more than 5 s" in first
    assert "thread forgetful" in first
    borrowed, _, now = first.partition("That thread is now at:")
    assert "tickets.append(lease_a_channel())" in borrowed
    assert "busy.wait(60)" in now
    assert "That thread has ended" in second
