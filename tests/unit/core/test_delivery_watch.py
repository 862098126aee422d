"""The watch over a consumer's silence, run against a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.delivery_watch import DeliveryWatch, Sight, Step

IDLE = Sight(7, free=True, subscribed=True, connected=True)
STEPS = (Step.RESUBSCRIBE, Step.REOPEN, Step.RECONNECT)


class Scene:
    """Looks at one sight as often as the watch wants to, and answers what is asked."""

    def __init__(self, watch: DeliveryWatch, ready: int = 5, consumers: int = 1) -> None:
        self.watch = watch
        self.now = 0.0
        self.ready, self.consumers = ready, consumers
        self.asked = 0

    def run(self, seconds: float, sight: Sight = IDLE) -> list[tuple[float, Step]]:
        """The steps, each with its time."""
        seen = []
        end = self.now + seconds
        while self.now < end:
            self.now += self.watch.pause
            step = self.watch.look(self.now, sight)
            if step is Step.ASK:
                self.asked += 1
                step = self.watch.told(self.now, ready=self.ready, consumers=self.consumers)
            if step is not Step.NOTHING:
                seen.append((self.now, step))
        return seen


def test_an_empty_queue_is_asked_for_seldom_and_left_alone() -> None:
    """One question in each period of silence."""
    scene = Scene(DeliveryWatch(30.0), ready=0)
    assert scene.run(300) == []
    assert 9 <= scene.asked <= 10


def test_messages_that_are_not_delivered_are_healed_step_by_step() -> None:
    """Asked twice; then the subscription, the channel, the connection; unready meanwhile."""
    scene = Scene(DeliveryWatch(30.0))
    steps = scene.run(60)
    assert [step for _, step in steps[:3]] == list(STEPS)
    assert 31 <= steps[0][0] <= 33
    assert scene.watch.is_healing


def test_it_looks_often_only_while_it_is_in_doubt() -> None:
    """A quiet consumer is looked at every two seconds, or more often where a short silence counts."""
    watch = DeliveryWatch(30.0)
    assert (watch.pause, DeliveryWatch(15.0).pause, DeliveryWatch(0.1).pause) == (2.0, 1.0, 0.5)
    watch.look(0.0, IDLE)
    watch.look(31.0, IDLE)
    watch.told(31.0, ready=5, consumers=1)
    assert watch.pause == 0.5


def test_a_consumer_that_the_broker_does_not_know_is_subscribed_again() -> None:
    """Also when nothing waits in the queue, which the next message would do."""
    scene = Scene(DeliveryWatch(10.0), ready=0, consumers=0)
    assert scene.run(14)[0][1] is Step.RESUBSCRIBE
    scene.consumers = 1
    assert [step for _, step in scene.run(5)] == [Step.HEALED]
    assert not scene.watch.is_healing


def test_a_delivery_ends_the_healing() -> None:
    """It says so once."""
    scene = Scene(DeliveryWatch(10.0))
    assert [step for _, step in scene.run(12.5)] == [Step.RESUBSCRIBE]
    assert [step for _, step in scene.run(5, IDLE._replace(delivered=8))] == [Step.HEALED]


def test_a_channel_that_does_not_answer_costs_its_connection() -> None:
    """The broker does not confirm the new subscription, so it would not close the channel either: another connection."""
    scene = Scene(DeliveryWatch(10.0))
    scene.run(12.5)
    steps = scene.run(6, IDLE._replace(subscribed=False))
    assert [step for _, step in steps] == [Step.RECONNECT]


def test_busy_handlers_a_lost_connection_and_a_pause_are_no_silence() -> None:
    """Nobody is asked, and nothing is done."""
    for sight in (
        IDLE._replace(free=False),
        IDLE._replace(connected=False),
        IDLE._replace(subscribed=False),
        IDLE._replace(wanted=False),
    ):
        scene = Scene(DeliveryWatch(10.0))
        assert scene.run(100, sight) == []
        assert scene.asked == 0


def test_a_standby_consumer_is_not_healed() -> None:
    """Single active consumer: another one gets everything, and that is right."""
    assert Scene(DeliveryWatch(10.0, others_first=True), consumers=2).run(100) == []
    assert Scene(DeliveryWatch(10.0, others_first=True), consumers=0).run(20) != []


def test_a_connection_is_not_replaced_again_and_again() -> None:
    """A broker that lies for an hour: each further time is waited for longer."""
    steps = Scene(DeliveryWatch(30.0)).run(3600)
    assert len(steps) <= 16


def test_no_answer_is_no_proof() -> None:
    """The broker could not be asked: it is asked again after the next silence."""
    watch = DeliveryWatch(10.0)
    watch.look(0.0, IDLE)
    assert watch.look(10.0, IDLE) is Step.ASK
    watch.not_told(10.0)
    assert watch.look(19.0, IDLE) is Step.NOTHING
    assert watch.look(20.0, IDLE) is Step.ASK


@given(
    st.lists(
        st.tuples(
            st.builds(Sight, st.integers(0, 2), st.booleans(), st.booleans(), st.booleans(), st.booleans()),
            st.integers(0, 2),
            st.integers(0, 1),
        ),
        max_size=200,
    )
)
def test_it_acts_only_on_two_answers_in_silence(looks: list[tuple[Sight, int, int]]) -> None:
    """The first step follows two bad answers with no delivery in between; healed is said once for each healing."""
    watch = DeliveryWatch(2.0)
    bad, healing = 0, False
    delivered = -1
    for number, (sight, ready, consumers) in enumerate(looks):
        if sight.delivered != delivered:
            delivered, bad = sight.delivered, 0
        step = watch.look(number * 0.5, sight)
        if step is Step.ASK:
            bad = bad + 1 if ready or not consumers else 0
            step = watch.told(number * 0.5, ready=ready, consumers=consumers)
        if step in STEPS and not healing:
            assert step is Step.RESUBSCRIBE
            assert bad >= 2
        if step is Step.HEALED:
            assert healing
        healing = watch.is_healing
