"""``rmqpool topology``: the difference to the broker, what is added, an export that means the same, a migration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from managed import ManagedNode

from rmqpool import Binding, ConnectionPool, Exchange, Publisher, Queue
from rmqpool.testing.ports import ReservedPort
from tests.acceptance.conftest import Ended, Run

SHOP = """
from rmqpool import Binding, Exchange, Queue, Worker

TOPOLOGY = [Exchange("events", type="topic"), Queue("orders"), Binding("events", "orders", "order.*")]
worker = Worker("shop", declare=TOPOLOGY)
number = 7

@worker.consumer("orders")
def handle(order: dict) -> None: ...
"""
CLASSIC = Queue("orders", type="classic", dead_letter=None, message_ttl=3600)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a worker's module."""
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@pytest.fixture
def pool(managed_url: str) -> Iterator[ConnectionPool]:
    """On the test's own vhost."""
    with ConnectionPool(managed_url) as pool:
        yield pool


@pytest.fixture
def topology(inline: Run, shop: Path, managed: ManagedNode, managed_url: str) -> Callable[..., Ended]:
    """``rmqpool topology …`` on the test's own vhost, with the management API."""

    def run(*arguments: str) -> Ended:
        return inline("topology", *arguments, "--url", managed_url, "--management-url", managed.management_url)

    return run


def names(ended: Ended, state: str) -> list[str]:
    """The entries in one state: names, and the keys of bindings."""
    return [entry.get("name") or entry["routing_key"] for entry in ended.json["entries"] if entry["state"] == state]


@pytest.mark.parametrize("declaration", ["shop:worker", "shop:TOPOLOGY"])
def test_what_a_worker_or_a_list_declares_is_planned_applied_and_then_there(topology: Run, declaration: str) -> None:
    """7 while something is to be added, 0 afterwards; the dead-letter queue is implied."""
    planned = topology("plan", declaration, "--json")
    assert (planned.code, names(planned, "add")) == (7, ["events", "orders.dead", "orders", "order.*"])
    assert topology("apply", declaration, "--dry-run").code == 7
    assert topology("plan", declaration).code == 7
    applied = topology("apply", declaration, "--yes", "--json")
    assert (applied.code, len(applied.json["added"])) == (0, 4)
    assert topology("plan", declaration).out.endswith("0 to add, 4 present, 0 different\nnothing to do\n")
    assert topology("apply", declaration).code == 0  # nothing to ask


def test_each_difference_is_shown_with_both_values_and_a_way_out(topology: Run, pool: ConnectionPool) -> None:
    """Nothing of it is changed by apply, which adds the rest and ends with 8."""
    pool.declare_once([CLASSIC, Exchange("events", type="fanout")])
    ended = topology("plan", "shop:TOPOLOGY")
    assert ended.code == 8
    assert "~ queue orders\n    x-queue-type: declared quorum, there classic\n" in ended.out
    assert "    x-message-ttl: declared nothing, there 3600000\n" in ended.out
    assert "rmqpool topology migrate orders --to quorum --as shop:TOPOLOGY" in ended.out
    assert "~ exchange events\n    type: declared topic, there fanout\n" in ended.out
    applied = topology("apply", "shop:TOPOLOGY", "--yes", "--json")
    assert applied.code == 8
    assert names(applied, "different") == ["events", "orders"]
    assert names(applied, "add") == []
    assert len(applied.json["added"]) == 2


def test_without_the_management_api_what_amqp_can_see_is_planned(
    rmqpool: Run, shop: Path, managed_url: str, pool: ConnectionPool
) -> None:
    """Bindings are not seen, and that is said; every difference that the broker names is there all the same."""
    pool.declare_once([CLASSIC, Exchange("events", type="fanout")])
    ended = rmqpool("topology", "plan", "shop:TOPOLOGY", "--url", managed_url)
    assert ended.code == 8
    assert "looking over AMQP only" in ended.err
    assert "x-queue-type: declared quorum, there classic" in ended.out
    assert "type: declared topic, there fanout" in ended.out
    assert "? binding events -> orders (order.*)" in ended.out
    assert ended.out.endswith("1 to add, 0 present, 2 different, 1 not seen (bindings)\n")
    applied = rmqpool("topology", "apply", "shop:TOPOLOGY", "--url", managed_url, "--yes", "--json")
    assert (applied.code, len(applied.json["added"])) == (8, 2)


@pytest.mark.parametrize("seen_by", ["management", "amqp"])
def test_a_passive_queue_is_present_or_missing_and_never_added(
    topology: Run, inline: Run, managed_url: str, pool: ConnectionPool, shop: Path, seen_by: str
) -> None:
    """Somebody else's: whatever its arguments it does not differ, and where it is missing only its owner can add it."""
    (shop / "guest.py").write_text(
        "from rmqpool import Queue\nTOPOLOGY = [Queue('theirs', passive=True), Queue('gone', passive=True)]"
    )
    pool.declare_once([Queue("theirs", type="classic", dead_letter=None, max_length=7)])
    where = [] if seen_by == "management" else ["--no-management"]
    planned = topology("plan", "guest:TOPOLOGY", "--json", *where)
    assert (planned.code, planned.json["seen_by"]) == (8, seen_by)
    assert (names(planned, "present"), names(planned, "missing")) == (["theirs"], ["gone"])
    applied = topology("apply", "guest:TOPOLOGY", "--yes", *where)
    assert applied.code == 8
    assert "! queue gone\n    it is somebody else's (passive=True)" in applied.out
    assert applied.out.endswith("0 to add, 1 present, 0 different, 1 missing\nadded 0, deleted 0\n")


def test_a_queue_is_not_migrated_to_a_declaration_that_says_no_type(
    topology: Run, shop: Path, pool: ConnectionPool
) -> None:
    """Its messages would end in another classic queue, or nowhere: refused before anything is done."""
    (shop / "guest.py").write_text("from rmqpool import Queue\nTOPOLOGY = [Queue('orders', passive=True)]")
    pool.declare_once([CLASSIC])
    ended = topology("migrate", "orders", "--as", "guest:TOPOLOGY", "--yes")
    assert (ended.code, "x-queue-type=quorum" in ended.err) == (6, True)
    pool.declare_once([CLASSIC])  # would differ otherwise


def test_what_is_not_declared_is_shown_with_all(topology: Run, inline: Run, shop: Path, managed_url: str) -> None:
    """Only with --all, which AMQP cannot do."""
    topology("apply", "shop:TOPOLOGY", "--yes")
    (shop / "none.json").write_text('{"queues": []}')
    assert topology("plan", "none.json", "--json").json.get("undeclared") is None
    found = topology("plan", "none.json", "--all", "--json").json["undeclared"]
    assert [one["name"] for one in found] == ["events", "orders", "orders.dead", "events -> orders (order.*)"]
    assert inline("topology", "plan", "none.json", "--all", "--url", managed_url).code == 2


@pytest.mark.parametrize("form", ["json", "python"])
def test_an_export_compared_with_its_broker_has_nothing_to_do(
    topology: Run, shop: Path, pool: ConnectionPool, form: str
) -> None:
    """Also with queues that are not as ours are; server-named and exclusive ones are left out."""
    topology("apply", "shop:TOPOLOGY", "--yes")
    with pool.channel() as channel:
        channel.queue_declare("foreign", arguments={"x-queue-type": "quorum", "x-dead-letter-exchange": ""})
        channel.queue_declare("plain")
        channel.queue_declare("mine", exclusive=True)
        channel.queue_bind("mine", "events", "all")
        ended = topology("export", "--format", form)
        assert ended.code == 0, ended.err
        (shop / f"exported.{'json' if form == 'json' else 'py'}").write_text(ended.out)
        name = "exported.json" if form == "json" else "exported:TOPOLOGY"
        planned = topology("plan", name, "--all", "--json")
        assert planned.code == 0, planned.out
        assert planned.json["counts"]["present"] == 6
        assert planned.json["undeclared"] == []


def test_what_no_value_can_say_is_left_out_of_an_export_and_told(topology: Run, pool: ConnectionPool) -> None:
    """Exit code 1, a sentence, and all the rest."""
    with pool.channel() as channel:
        channel.queue_declare("odd", arguments={"x-queue-type": "quorum", "x-delivery-limit": -1})
        channel.queue_declare("plain")
    ended = topology("export")
    assert ended.code == 1
    assert "left out: queue 'odd': delivery_limit" in ended.err
    assert [queue["name"] for queue in json.loads(ended.out)["queues"]] == ["plain"]


def test_only_what_is_named_is_deleted_and_only_if_empty_and_unused(topology: Run, pool: ConnectionPool) -> None:
    """A message, one that somebody holds, a consumer, a bound queue: each keeps it. Each name is needed."""
    pool.declare_once([Queue("old", type="classic", dead_letter=None), Queue("new", dead_letter=None), Exchange("e")])
    pool.declare_once([Queue("bound", dead_letter=None), Binding("e", "bound")])

    def delete(*arguments: str) -> Ended:
        named = [part for argument in arguments for part in ("--delete", argument)]
        return topology("apply", "shop:TOPOLOGY", "--yes", "--figures-age", "0.5", *named)

    topology("apply", "shop:TOPOLOGY", "--yes")
    with Publisher(pool) as publisher:
        for name in ("old", "new"):
            publisher.publish(name, b"")
            assert "1 ready" in delete(f"queue:{name}").err
    with pool.channel() as channel:
        held = [channel.basic_get(name) for name in ("old", "new")]
        for name in ("old", "new"):
            refused = delete(f"queue:{name}")
            assert refused.code == 6
            told = "1 unacknowledged" if name == "old" else "1 consumer"  # a quorum queue counts who holds a message so
            assert told in refused.err, refused.err
        for one in held:
            assert one is not None
            one.ack()
    with pool.channel() as channel:
        consumer = channel.basic_consume("new")
        assert "1 consumer:" in delete("queue:new").err
        consumer.close()
    assert "something is bound to it" in delete("exchange:e").err
    assert delete("queue:old", "queue:new", "queue:bound", "exchange:e").code == 0
    assert "there is no queue 'old'" in delete("queue:old").err
    assert "there is no exchange 'e'" in delete("exchange:e").err
    left = topology("export", "--json")
    assert [queue["name"] for queue in json.loads(left.json["text"])["queues"]] == ["orders", "orders.dead"]


def test_a_queue_is_deleted_with_its_messages_only_when_told_so(topology: Run, pool: ConnectionPool) -> None:
    """--even-if-not-empty."""
    with Publisher(pool, declare=[Queue("old", dead_letter=None)]) as publisher:
        publisher.publish("old", b"")
        publisher.close()
    assert topology("apply", "shop:TOPOLOGY", "--yes", "--delete", "queue:old", "--even-if-not-empty").code == 0
    assert "there is no queue" in topology("apply", "shop:TOPOLOGY", "--yes", "--delete", "queue:old").err


@pytest.mark.parametrize("command", [("apply", "shop:TOPOLOGY"), ("migrate", "orders")])
def test_nobody_to_ask_is_no_yes(
    rmqpool: Run, shop: Path, managed: ManagedNode, managed_url: str, pool: ConnectionPool, command: tuple[str, ...]
) -> None:
    """A pipe is refused with a way out, and nothing is done."""
    pool.declare_once([CLASSIC])
    where = ("--url", managed_url, "--management-url", managed.management_url)
    ended = rmqpool("topology", *command, *where)
    assert ended.code == 2
    assert "--yes" in ended.err
    assert [queue["name"] for queue in managed.api(managed_url).queues()] == ["orders"]


def test_a_classic_queue_becomes_the_quorum_queue_that_the_worker_declares(
    rmqpool: Run, topology: Run, shop: Path, managed: ManagedNode, managed_url: str, pool: ConnectionPool
) -> None:
    """With its messages, in their order; a dry run only shows the steps; a second run finds nothing to do."""
    pool.declare_once([CLASSIC, Exchange("events", type="topic"), Binding("events", "orders", "order.*")])
    with Publisher(pool) as publisher:
        assert publisher.publish_many("orders", [str(number) for number in range(500)]).confirmed == 500
    shown = topology("migrate", "orders", "--as", "shop:worker", "--dry-run", "--json")
    assert (shown.json["stage"], len(shown.json["steps"])) == ("prepare", 7)
    where = ("--url", managed_url, "--management-url", managed.management_url)
    ended = rmqpool("topology", "migrate", "orders", "--as", "shop:worker", "--yes", "--figures-age", "0.5", *where)
    assert ended.code == 0, ended.err
    assert "orders is a quorum queue; messages moved, out and back: 1,000" in ended.out
    assert "the classic queue is deleted" in ended.err
    assert topology("plan", "shop:worker").code == 0
    with pool.channel() as channel:
        bodies = [delivery.body for delivery in channel.basic_consume("orders", auto_ack=True, inactivity_timeout=0.5)]
    assert bodies == [str(number).encode() for number in range(500)]
    again = topology("migrate", "orders", "--yes", "--json")
    assert (again.code, again.json["stage"], again.json["moved"]) == (0, "done", 0)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("plan", "shop:nothing"), 3, "shop:worker"),
        (("plan", "shop:number"), 3, "neither a Worker nor a list"),
        (("plan", "nope.json"), 5, "nope.json cannot be read: No such file"),
        (("plan", "wrong.json"), 5, "it is no JSON"),
        (("apply", "shop:worker", "--delete", "orders"), 2, "queue:NAME"),
        (("migrate", "nope"), 6, "does not exist"),
        (("migrate", "orders", "--as", "shop:worker", "--to", "stream"), 2, "quorum"),
        (("migrate", "other", "--as", "shop:worker"), 3, "declares no queue 'other'"),
    ],
)
def test_mistakes_are_one_sentence_with_a_code(
    topology: Run, shop: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """Cause and next step; never a traceback."""
    (shop / "wrong.json").write_text("{")
    ended = topology(*arguments)
    assert (ended.code, told in ended.err) == (code, True), ended.err
    assert "Traceback" not in ended.err


def test_a_migration_without_the_management_api_says_what_it_needs(inline: Run, managed_url: str) -> None:
    """Exit code 4."""
    port = ReservedPort()
    ended = inline(
        "topology", "migrate", "orders", "--url", managed_url, "--management-url", f"http://127.0.0.1:{port.number}"
    )
    port.release()
    assert ended.code == 4
    assert "rabbitmq-plugins enable rabbitmq_management" in ended.err
