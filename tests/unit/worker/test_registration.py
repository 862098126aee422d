"""What @worker.consumer is told, and what a worker declares."""

import pytest

from rmqpool import Binding, Delivery, Exchange, Queue, Worker
from rmqpool.errors import ConfigurationError
from rmqpool.worker.registration import select, topology_of, with_declared


def handler(body: dict): ...


def settling(body: dict, delivery: Delivery): ...


def test_the_function_stays_as_it_was():
    """Users' unit tests call it."""
    worker = Worker("orders")
    assert worker.consumer("orders")(handler) is handler


def test_defaults_are_modest():
    """Eight at once, four times as many delivered, parked in <queue>.dead."""
    worker = Worker("orders")
    worker.consumer("orders")(handler)
    (definition,) = worker.consumers
    assert (definition.concurrency, definition.messages_ahead, definition.parking_queue) == (8, 32, "orders.dead")
    assert definition.queue == Queue("orders")


def test_the_default_prefetch_stays_within_what_quorum_queues_take():
    """2,000."""
    worker = Worker("orders")
    worker.consumer("orders", concurrency=1000)(handler)
    assert worker.consumers[0].messages_ahead == 2000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"prefetch": 2001}, "prefetch"),
        ({"prefetch": "5"}, "prefetch"),
        ({"on_error": "drop"}, "on_error"),
        ({"ack": "never"}, "ack"),
        ({"ack": "manual"}, "delivery"),
        ({"reply": False}, "reply"),
        ({"accept": "json"}, "accept"),
        ({"queue": Queue("other")}, "other"),
    ],
)
def test_wrong_options_are_refused(options, said):
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=said):
        Worker("orders").consumer("orders", **options)(handler)


def test_the_decorator_needs_a_queue():
    """Also when it is used without brackets."""
    with pytest.raises(ConfigurationError, match="queue's name"):
        Worker("orders").consumer(handler)  # type: ignore[arg-type]


def test_two_handlers_of_one_queue_are_refused():
    """A message would go to either."""
    worker = Worker("orders")
    worker.consumer("orders")(handler)
    with pytest.raises(ConfigurationError, match="two handlers"):
        worker.consumer("orders")(settling)


def test_manual_ack_takes_the_delivery():
    """Somebody has to settle it."""
    worker = Worker("orders")
    worker.consumer("orders", ack="manual")(settling)
    assert worker.consumers[0].ack == "manual"


def definitions_of(*queues: Queue | str):
    """Consumers of these queues."""
    worker = Worker("all")
    for queue in queues:
        worker.consumer(queue)(handler)
    return worker.consumers


def test_a_consumer_declares_its_queue_and_where_it_parks():
    """The dead-letter queue first."""
    (definition,) = definitions_of("orders")
    assert [item.name for item in topology_of([definition], [])] == ["orders.dead", "orders"]


def test_a_queue_without_dead_letters_is_parked_all_the_same():
    """In <queue>.dead, which the worker declares itself."""
    (definition,) = definitions_of(Queue("orders", dead_letter=None))
    assert {item.name for item in topology_of([definition], [])} == {"orders", "orders.dead"}


def test_a_dead_letter_queue_of_another_name_is_used():
    """The broker's dead-lettering and parking meet in one place."""
    (definition,) = definitions_of(Queue("orders", dead_letter="graveyard"))
    assert definition.parking_queue == "graveyard"
    assert {item.name for item in topology_of([definition], [])} == {"orders", "graveyard"}


def test_the_workers_declaration_of_a_queue_wins():
    """A consumer that gave only a name takes the Queue that the worker declares."""
    declared = [Exchange("events", "topic"), Queue("orders", max_length=5), Binding("events", "orders", "#")]
    (definition,) = definitions_of("orders")
    found = with_declared(definition, declared)
    assert found.queue == declared[1]
    names = [getattr(item, "name", "binding") for item in topology_of([found], declared)]
    assert names == ["events", "orders.dead", "orders", "binding"]


def test_two_different_declarations_of_one_queue_are_refused():
    """Nobody could know which one is meant."""
    (definition,) = definitions_of(Queue("orders", max_length=5))
    with pytest.raises(ConfigurationError, match="twice"):
        topology_of([definition], [Queue("orders", max_length=6)])


def test_queues_are_chosen_by_name():
    """With a suggestion for a name that is not there."""
    definitions = definitions_of("orders", "bills")
    assert [one.queue.name for one in select(definitions, ["bills"], "all")] == ["bills"]
    assert len(select(definitions, None, "all")) == 2
    with pytest.raises(ConfigurationError, match="did you mean 'orders'"):
        select(definitions, ["order"], "all")
    with pytest.raises(ConfigurationError, match="no queue was chosen"):
        select(definitions, [], "all")


def test_a_worker_without_consumers_does_not_start():
    """It says what to write."""
    with pytest.raises(ConfigurationError, match=r"@worker\.consumer"):
        Worker("empty").start()


def test_overrides_are_checked_too():
    """They come from a command line."""
    (definition,) = definitions_of("orders")
    changed = definition.with_overrides(2, 10)
    assert (changed.concurrency, changed.messages_ahead) == (2, 10)
    with pytest.raises(ConfigurationError, match="prefetch"):
        definition.with_overrides(None, 0)


@pytest.mark.parametrize("grace", [-1, True, "30"])
def test_grace_is_seconds(grace):
    """Zero is fine: nothing is waited for."""
    with pytest.raises(ConfigurationError, match="grace"):
        Worker("orders", grace=grace)
