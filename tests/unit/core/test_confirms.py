"""What the confirm window promises: each message settled once, in one way, whatever order the broker answers in."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rmqpool.core.confirms import ConfirmWindow, Returned

NO_ROUTE = Returned(312, "NO_ROUTE")


def window_of(*entries: str) -> ConfirmWindow[str]:
    window: ConfirmWindow[str] = ConfirmWindow(str)
    for entry in entries:
        window.add(entry)
    return window


def test_tags_start_at_one_and_count_up() -> None:
    """The tag that add() gives is the one that the broker will count."""
    window: ConfirmWindow[str] = ConfirmWindow(str)
    assert [window.add("a"), window.add("b"), window.add("c")] == [1, 2, 3]
    assert window.next_tag == 4


def test_tags_go_on_counting_after_answers() -> None:
    """A settled tag is never given out again on the same channel."""
    window = window_of("a", "b")
    window.ack(2, multiple=True)
    assert window.add("c") == 3


def test_an_ack_settles_its_message_only() -> None:
    """Answers come out of order: the others stay open."""
    window = window_of("a", "b", "c")
    assert window.ack(2).acked == ["b"]
    assert window.entries() == ["a", "c"]
    assert len(window) == 2


def test_multiple_settles_everything_up_to_the_tag() -> None:
    """What was settled before is not settled a second time."""
    window = window_of("a", "b", "c", "d")
    window.ack(2)
    assert window.ack(3, multiple=True).acked == ["a", "c"]
    assert window.entries() == ["d"]


def test_multiple_with_tag_zero_settles_everything() -> None:
    """AMQP 0-9-1: delivery tag 0 with multiple means all outstanding messages."""
    window = window_of("a", "b")
    assert window.ack(0, multiple=True).acked == ["a", "b"]
    assert not window


def test_a_nack_is_no_ack() -> None:
    """A nacked message is reported as nacked, in publishing order."""
    window = window_of("a", "b", "c")
    settled = window.nack(2, multiple=True)
    assert (settled.acked, settled.nacked) == ([], ["a", "b"])


def test_a_returned_message_counts_as_returned_when_its_ack_comes() -> None:
    """The broker acks what it gave back: that is no confirmation."""
    window = window_of("a", "b")
    assert window.give_back("a", NO_ROUTE)
    settled = window.ack(2, multiple=True)
    assert settled.returned == [("a", NO_ROUTE)]
    assert settled.acked == ["b"]


def test_the_same_id_twice_is_returned_in_publishing_order() -> None:
    """Two messages with one id: each return goes to the first that has none yet."""
    window = window_of("same", "same")
    assert window.give_back("same", Returned(312, "first"))
    assert window.give_back("same", Returned(312, "second"))
    assert [returned.reply_text for _, returned in window.ack(2, multiple=True).returned] == ["first", "second"]


def test_a_nack_after_a_return_is_a_nack() -> None:
    """The broker refused responsibility, and that is what counts."""
    window = window_of("a")
    window.give_back("a", NO_ROUTE)
    assert window.nack(1).nacked == ["a"]


def test_strays_settle_nothing_and_are_counted() -> None:
    """Answers for tags settled before, never given out, or returns that match nothing."""
    window = window_of("a", "b")
    window.ack(2)
    assert window.ack(2).acked == []
    assert window.ack(9, multiple=True).acked == []
    assert window.nack(0).nacked == []
    assert not window.give_back("z", NO_ROUTE)
    assert window.strays == 4
    assert window.entries() == ["a"]


def test_a_lost_channel_leaves_the_unanswered_and_the_returned() -> None:
    """What was given back is known to be stored nowhere, even though its ack never came."""
    window = window_of("a", "b", "c")
    window.ack(1)
    window.give_back("c", NO_ROUTE)
    assert window.lose() == (["b"], [("c", NO_ROUTE)])
    assert not window
    assert window.lose() == ([], [])


@dataclass
class Model:
    """A dictionary by tag: the simplest thing that can be right."""

    open: dict[int, str] = field(default_factory=dict)
    returned: set[int] = field(default_factory=set)
    strays: int = 0

    def take(self, tag: int, multiple: bool, next_tag: int) -> list[int]:
        last = next_tag - 1 if multiple and tag == 0 else tag
        if multiple and last < next_tag:
            taken = [own for own in sorted(self.open) if own <= last]
        else:
            taken = [own for own in self.open if own == last]
        if not taken:
            self.strays += 1
        return taken


class ConfirmWindowAgainstModel(RuleBasedStateMachine):
    """Any sequence of publishes, answers, returns, strays and losses gives what the model gives."""

    def __init__(self) -> None:
        super().__init__()
        self.window: ConfirmWindow[str] = ConfirmWindow(str)
        self.model = Model()
        self.next_tag = 1

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        for _ in range(count):
            assert self.window.add(f"m{self.next_tag}") == self.next_tag
            self.model.open[self.next_tag] = f"m{self.next_tag}"
            self.next_tag += 1

    @rule(tag=st.integers(0, 25), multiple=st.booleans())
    def ack(self, tag: int, multiple: bool) -> None:
        taken = self.model.take(tag, multiple, self.next_tag)
        settled = self.window.ack(tag, multiple)
        assert settled.acked == [self.model.open[own] for own in taken if own not in self.model.returned]
        assert settled.returned == [(self.model.open[own], NO_ROUTE) for own in taken if own in self.model.returned]
        assert settled.nacked == []
        self._forget(taken)

    @rule(tag=st.integers(0, 25), multiple=st.booleans())
    def nack(self, tag: int, multiple: bool) -> None:
        taken = self.model.take(tag, multiple, self.next_tag)
        settled = self.window.nack(tag, multiple)
        assert settled.nacked == [self.model.open[own] for own in taken]
        assert (settled.acked, settled.returned) == ([], [])
        self._forget(taken)

    @rule(tag=st.integers(1, 25))
    def give_back(self, tag: int) -> None:
        known = tag in self.model.open and tag not in self.model.returned
        assert self.window.give_back(f"m{tag}", NO_ROUTE) is known
        if known:
            self.model.returned.add(tag)
        else:
            self.model.strays += 1

    @rule()
    def lose(self) -> None:
        unanswered, returned = self.window.lose()
        tags = sorted(self.model.open)
        assert unanswered == [self.model.open[tag] for tag in tags if tag not in self.model.returned]
        assert returned == [(self.model.open[tag], NO_ROUTE) for tag in tags if tag in self.model.returned]
        self.window = ConfirmWindow(str)  # the next channel counts from 1
        self.model, self.next_tag = Model(), 1

    @invariant()
    def the_same_is_open(self) -> None:
        assert self.window.entries() == [self.model.open[tag] for tag in sorted(self.model.open)]
        assert len(self.window) == len(self.model.open)
        assert bool(self.window) is bool(self.model.open)
        assert self.window.next_tag == self.next_tag
        assert self.window.strays == self.model.strays

    def _forget(self, tags: list[int]) -> None:
        for tag in tags:
            del self.model.open[tag]
            self.model.returned.discard(tag)


TestConfirmWindowAgainstModel = ConfirmWindowAgainstModel.TestCase
TestConfirmWindowAgainstModel.settings = settings(stateful_step_count=40)


def test_hollowed_entries_keep_their_tags() -> None:
    """What is over for everybody but the broker gives its body up, and its answer still settles its tag."""
    window: ConfirmWindow[str] = ConfirmWindow(str)
    for name in ("a", "b", "c"):
        window.add(name)
    window.hollow(lambda entry: entry == "b", "-")
    assert window.entries() == ["a", "-", "c"]
    assert window.ack(2).acked == ["-"]
    assert window.ack(3, multiple=True).acked == ["a", "c"]


def test_a_return_for_a_hollowed_message_does_not_find_a_later_one_of_its_name() -> None:
    """Published again with the same id after its deadline: the late return is the first one's, and the second is acked."""
    names = {"-": ""}
    window: ConfirmWindow[str] = ConfirmWindow(lambda entry: names.get(entry, entry))
    window.add("x")
    window.hollow(lambda entry: entry == "x", "-")
    window.add("x")
    assert window.give_back("x", NO_ROUTE)
    assert [entry for entry, _ in window.ack(1).returned] == ["-"]
    assert window.ack(2).acked == ["x"]
