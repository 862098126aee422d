"""What waits to be written promises: the order of writing, each message in one batch only, and nothing kept for nothing."""

import threading
import time

from rmqpool.amqp.unsent import Batch, Unsent
from rmqpool.future import QUEUED, WRITTEN, PublishFuture
from rmqpool.message import Confirmation, Message

LARGE = 10**6


class Owner:
    """Withdraws as the engine does."""

    on_io_thread = False
    is_inherited = False

    def end_inherited(self, future: PublishFuture) -> None:
        raise AssertionError("nothing was forked")

    def __init__(self, unsent: Unsent) -> None:
        self.unsent = unsent

    def withdraw(self, future: PublishFuture) -> bool:
        if not self.unsent.withdraw(future):
            return False
        future.finish()
        return True


def add(unsent: Unsent, name: str, seconds: float = 30.0, header: bytes = b"h", body: bytes = b"") -> PublishFuture:
    message = Message("", "orders", body, name)
    future = PublishFuture(message, header, time.monotonic() + seconds, True, Owner(unsent))
    unsent.append(future)
    return future


def take(unsent: Unsent, written: bool = False, header_max: int = LARGE) -> Batch:
    return unsent.next_batch(written, header_max, time.monotonic())


def names(futures: list[PublishFuture]) -> list[str]:
    return [future.message.message_id for future in futures]


def test_messages_leave_in_the_order_in_which_they_came() -> None:
    """And are marked as written."""
    unsent = Unsent()
    for name in "abc":
        add(unsent, name)
    batch = take(unsent)
    assert names(batch.ready) == ["a", "b", "c"]
    assert [(future.state, future.attempts) for future in batch.ready] == [(WRITTEN, 1)] * 3
    assert not unsent


def test_what_must_be_written_again_goes_first_in_its_order() -> None:
    """Before everything new."""
    unsent = Unsent()
    for name in "ab":
        add(unsent, name)
    first = take(unsent).ready
    add(unsent, "c")
    unsent.write_again(first)
    batch = take(unsent)
    assert names(batch.ready) == ["a", "b", "c"]
    assert [future.attempts for future in batch.ready] == [2, 2, 1]


def test_a_suspect_goes_alone() -> None:
    """Not with others, and not while anything is on its way."""
    unsent = Unsent()
    for name in "abc":
        add(unsent, name)
    taken = take(unsent).ready
    taken[1].alone = True
    unsent.write_again(taken)
    assert names(take(unsent).ready) == ["a"]
    assert take(unsent, written=True).ready == []
    alone = take(unsent)
    assert names(alone.ready) == ["b"]
    assert alone.is_alone
    assert names(take(unsent).ready) == ["c"]


def test_a_batch_has_an_end() -> None:
    """In messages and in bytes."""
    unsent = Unsent()
    for number in range(501):
        add(unsent, str(number))
    assert [len(take(unsent).ready), len(take(unsent).ready)] == [500, 1]
    for name in "ab":
        add(unsent, name, body=bytes(300_000))
    assert [len(take(unsent).ready), len(take(unsent).ready)] == [1, 1]


def test_what_is_late_or_too_large_is_told_apart() -> None:
    """Nothing of it is written."""
    unsent = Unsent()
    add(unsent, "late", seconds=-1)
    add(unsent, "large", header=b"x" * 100)
    add(unsent, "good")
    batch = take(unsent, header_max=99)
    assert (names(batch.late), names(batch.too_large), names(batch.ready)) == (["late"], ["large"], ["good"])
    assert [future.attempts for future in (*batch.late, *batch.too_large)] == [0, 0]


def test_a_withdrawn_message_is_passed_over() -> None:
    """And cannot be withdrawn once it was written, nor when it waits to be written again."""
    unsent = Unsent()
    first, second = add(unsent, "a"), add(unsent, "b")
    assert first.cancel()
    assert names(take(unsent).ready) == ["b"]
    assert not second.cancel()
    unsent.write_again([second])
    assert second.state == QUEUED
    assert not second.cancel()


def test_a_nacked_message_rests_until_it_is_woken() -> None:
    """Once, and not if its outcome came meanwhile."""
    unsent = Unsent()
    add(unsent, "a")
    (future,) = take(unsent).ready
    unsent.rest(future)
    assert not unsent
    assert len(unsent) == 1
    assert unsent.wake(future)
    assert not unsent.wake(future)
    assert names(take(unsent).ready) == ["a"]
    unsent.rest(future)
    future.resolve(Confirmation("a", "", "orders"))
    unsent.drop_done()
    assert not unsent.wake(future)


def test_new_messages_are_seen_once() -> None:
    """Their deadlines are watched from then on, whatever leaves at the head meanwhile."""
    unsent = Unsent()
    for name in "ab":
        add(unsent, name)
    assert names(unsent.unseen()) == ["a", "b"]
    assert unsent.unseen() == []
    add(unsent, "c")
    assert names(unsent.unseen()) == ["c"]
    take(unsent)
    add(unsent, "d")
    assert names(unsent.unseen()) == ["d"]


def test_what_is_done_is_forgotten() -> None:
    """Bodies do not pile up while nothing can be written; what is open stays."""
    unsent = Unsent()
    done, resting, kept = add(unsent, "done"), add(unsent, "resting"), None
    taken = take(unsent).ready
    unsent.write_again(taken[:1])
    unsent.rest(resting)
    kept = add(unsent, "kept")
    for future in (done, resting):
        future.resolve(Confirmation("x", "", "orders"))
    unsent.drop_done()
    assert unsent.everything() == [kept]
    assert len(unsent) == 1


def test_each_message_is_written_or_withdrawn_under_a_race() -> None:
    """One thread appends and withdraws every third message, the other one writes: nothing is lost or doubled."""
    unsent = Unsent()
    futures: list[PublishFuture] = []
    withdrawn: list[PublishFuture] = []
    finished = threading.Event()

    def append() -> None:
        for number in range(3000):
            futures.append(add(unsent, str(number)))
            if number % 3 == 0 and futures[number // 2].cancel():
                withdrawn.append(futures[number // 2])
        finished.set()

    thread = threading.Thread(target=append)
    thread.start()
    written: list[PublishFuture] = []
    while not finished.is_set() or unsent:
        written += take(unsent).ready
    thread.join(10)
    assert names(written) == sorted(names(written), key=int)
    assert sorted(names(written + list(dict.fromkeys(withdrawn))), key=int) == [str(number) for number in range(3000)]


def test_a_callback_may_withdraw_another_message() -> None:
    """Users' callbacks run under no lock of ours: one that cancels a second message does not wait for itself."""
    unsent = Unsent()
    first, second = add(unsent, "a"), add(unsent, "b")
    first.add_done_callback(lambda _: second.cancel())
    assert first.cancel()
    assert second.cancelled()
