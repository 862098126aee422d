"""Order by key under a model of everything that may happen."""

from collections import defaultdict, deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rmqpool.core.key_order import KeyOrder


class Model(RuleBasedStateMachine):
    """Each key is a list of its items, of which the first is in hand."""

    def __init__(self) -> None:
        super().__init__()
        self.order: KeyOrder[int] = KeyOrder()
        self.items: dict[str, deque[int]] = defaultdict(deque)
        self.serial = 0

    @rule(key=st.sampled_from("abcd"))
    def arrive(self, key: str) -> None:
        """An item may begin exactly if its key has none in hand: no two at once, and no hand idle."""
        self.serial += 1
        assert self.order.arrive(key, self.serial) is (not self.items[key])
        self.items[key].append(self.serial)

    @precondition(lambda self: any(self.items.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """The next of that key begins, in the order of arrival: none is passed over."""
        key = data.draw(st.sampled_from(sorted(key for key, items in self.items.items() if items)))
        self.items[key].popleft()
        expected = self.items[key][0] if self.items[key] else None
        assert self.order.end(key) == expected

    @rule()
    def take_waiting(self) -> None:
        """All that has not begun, each key's in order; what is in hand stays."""
        taken = self.order.take_waiting()
        assert sorted(taken) == sorted(item for items in self.items.values() for item in list(items)[1:])
        for key, items in self.items.items():
            self.items[key] = deque(list(items)[:1])

    @invariant()
    def counts(self) -> None:
        """Nothing is kept of keys that are done."""
        assert self.order.in_hand == sum(1 for items in self.items.values() if items)
        assert self.order.waiting == sum(len(items) - 1 for items in self.items.values() if items)


TestKeyOrder = Model.TestCase


def test_a_key_that_cannot_be_hashed_changes_nothing():
    """The error is the caller's to deal with."""
    order: KeyOrder[int] = KeyOrder()
    with pytest.raises(TypeError):
        order.arrive([], 1)
    assert (order.in_hand, order.waiting) == (0, 0)
