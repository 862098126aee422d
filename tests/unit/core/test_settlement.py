"""What may be merged into one ack: settled prefixes, and never a delivery that nobody settled."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rmqpool.core.settlement import Instruction, SettlementWindow, Verdict


def nack(tag: int, *, requeue: bool = True) -> Instruction:
    return Instruction("nack", tag, requeue=requeue)


def reject(tag: int, *, requeue: bool = False) -> Instruction:
    return Instruction("reject", tag, requeue=requeue)


def ack(tag: int, *, multiple: bool = False) -> Instruction:
    return Instruction("ack", tag, multiple=multiple)


def test_acks_in_order_are_one_ack() -> None:
    """However many there are."""
    window = SettlementWindow()
    assert window.flush([1, 2, 3]) == [ack(3, multiple=True)]
    assert window.flush(list(range(4, 1001))) == [ack(1000, multiple=True)]


def test_one_ack_is_a_single_one() -> None:
    """Without multiple it can cover nothing else."""
    window = SettlementWindow()
    assert window.flush([1]) == [ack(1)]
    assert window.flush([2]) == [ack(2)]


def test_the_order_of_settling_does_not_matter() -> None:
    """Threads finish as they like."""
    assert SettlementWindow().flush([3, 1, 2]) == [ack(3, multiple=True)]


def test_acks_beyond_an_open_delivery_go_out_one_by_one() -> None:
    """A slow handler holds nothing up, and is not covered; later the prefix passes over what was written."""
    window = SettlementWindow()
    assert window.flush([2, 4, 3]) == [ack(2), ack(3), ack(4)]
    assert window.flush([1]) == [ack(1)]
    assert window.flush([5, 6]) == [ack(6, multiple=True)]


def test_a_prefix_and_what_is_beyond_it() -> None:
    """Both in one flush."""
    assert SettlementWindow().flush([1, 2, 4, 6]) == [ack(2, multiple=True), ack(4), ack(6)]


def test_refusals_are_written_before_the_ack_that_passes_over_them() -> None:
    """Otherwise the ack would cover them."""
    assert SettlementWindow().flush([1, 3], [reject(2)]) == [reject(2), ack(3, multiple=True)]


def test_the_ack_ends_at_a_delivery_that_is_still_outstanding() -> None:
    """The broker answers 406 to a tag that was refused before."""
    window = SettlementWindow()
    assert window.flush([1, 2], [nack(3)]) == [nack(3), ack(2, multiple=True)]
    assert window.flush([5, 4]) == [ack(5, multiple=True)]


def test_refusals_alone_need_no_ack() -> None:
    """They are settled as they are, and the window moves on."""
    window = SettlementWindow()
    assert window.flush([], [nack(2, requeue=False), nack(1)]) == [nack(2, requeue=False), nack(1)]
    assert window.flush([3, 4]) == [ack(4, multiple=True)]


def test_a_gap_in_the_tags_is_safe() -> None:
    """Somebody else settled tag 2: nothing is merged over it."""
    window = SettlementWindow()
    assert window.flush([1, 3, 4]) == [ack(1), ack(3), ack(4)]


def test_a_tag_that_was_settled_before_covers_nothing() -> None:
    """It breaks the rule, and costs the channel; but delivery 5 is still open, and no ack passes over it."""
    window = SettlementWindow()
    assert window.flush([1, 2, 3, 4]) == [ack(4, multiple=True)]
    assert window.flush([3, 6]) == [ack(3), ack(6)]


def test_its_repr_tells_how_far_it_is() -> None:
    """For whoever debugs."""
    window = SettlementWindow()
    window.flush([1, 2, 4])
    assert repr(window) == "<SettlementWindow settled up to 2, 1 beyond>"


@dataclass
class ModelChannel:
    """The broker's side of one channel: strict as RabbitMQ is with a tag that it does not know (406)."""

    outstanding: dict[int, int] = field(default_factory=dict)  # tag: message
    next_tag: int = 1

    def deliver(self, message: int) -> int:
        tag, self.next_tag = self.next_tag, self.next_tag + 1
        self.outstanding[tag] = message
        return tag

    def take(self, instruction: Instruction) -> list[tuple[int, int]]:
        """Tag and message of everything that one method settles."""
        assert instruction.delivery_tag in self.outstanding, f"406 PRECONDITION_FAILED: {instruction}"
        assert instruction.verdict == "ack" or not instruction.multiple
        covered = sorted(self.outstanding) if instruction.multiple else [instruction.delivery_tag]
        covered = [tag for tag in covered if tag <= instruction.delivery_tag]
        return [(tag, self.outstanding.pop(tag)) for tag in covered]


class SettlementMachine(RuleBasedStateMachine):
    """Deliveries, handlers that end in any order, flushes and reconnects, against a model of the broker."""

    @initialize()
    def connect(self) -> None:
        self.channel, self.window = ModelChannel(), SettlementWindow()
        self.ready: list[int] = []
        self.published = 0
        self.gone: set[int] = set()  # messages that the broker keeps no more
        self.held: dict[int, int] = {}  # delivered and not settled by the handler: tag, message
        self.said: dict[int, tuple[Verdict, bool]] = {}  # what the handler said on this channel: tag
        self.acked: list[int] = []  # since the last flush
        self.refused: list[Instruction] = []

    @rule(count=st.integers(1, 20))
    def deliver(self, count: int) -> None:
        for _ in range(count):
            if not self.ready:
                self.ready.append(self.published)
                self.published += 1
            message = self.ready.pop(0)
            assert message not in self.gone
            self.held[self.channel.deliver(message)] = message

    @precondition(lambda self: self.held)
    @rule(data=st.data(), verdict=st.sampled_from(["ack", "ack", "ack", "nack", "reject"]), requeue=st.booleans())
    def settle(self, data: st.DataObject, verdict: Verdict, requeue: bool) -> None:
        tag = data.draw(st.sampled_from(sorted(self.held)))
        self.say(tag, verdict, requeue)

    @precondition(lambda self: self.held)
    @rule(count=st.integers(1, 20))
    def ack_the_oldest(self, count: int) -> None:
        for tag in sorted(self.held)[:count]:
            self.say(tag, "ack", False)

    def say(self, tag: int, verdict: Verdict, requeue: bool) -> None:
        del self.held[tag]
        self.said[tag] = (verdict, requeue)
        if verdict == "ack":
            self.acked.append(tag)
        else:
            self.refused.append(Instruction(verdict, tag, requeue=requeue))

    @rule()
    def flush(self) -> None:
        acked, refused, self.acked, self.refused = self.acked, self.refused, [], []
        for instruction in self.window.flush(acked, refused):
            for tag, message in self.channel.take(instruction):
                assert tag in self.said, f"{instruction} covers {tag}, which nobody settled"
                verdict, requeue = self.said.pop(tag)
                assert verdict == instruction.verdict
                assert verdict == "ack" or requeue == instruction.requeue
                self.ready.append(message) if verdict != "ack" and requeue else self.gone.add(message)
        assert not self.said, "something settled was not written"
        assert self.channel.outstanding == self.held

    @rule()
    def reconnect(self) -> None:
        """Whatever was not written is delivered again, on a channel whose tags begin anew."""
        self.ready += self.channel.outstanding.values()
        self.channel, self.window = ModelChannel(), SettlementWindow()
        self.held, self.said, self.acked, self.refused = {}, {}, [], []

    @invariant()
    def no_message_is_lost(self) -> None:
        everywhere = sorted([*self.ready, *self.channel.outstanding.values(), *self.gone])
        assert everywhere == list(range(self.published))


SettlementMachine.TestCase.settings = settings(stateful_step_count=40)
TestSettlement = SettlementMachine.TestCase
TestSettlement.__doc__ = "Each delivery gets exactly the verdict that its handler gave, and nothing else is covered."
