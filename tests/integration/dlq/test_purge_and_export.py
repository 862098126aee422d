"""Purge removes what it asked about; export writes before it removes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from rmqpool.dlq import Selection, condition, export, letter_of, purge, restored_message
from rmqpool.dlq.store import create
from rmqpool.testing.rabbitmq import RabbitMQNode
from tests.integration.dlq.conftest import Shop, names_of


def test_what_comes_after_the_question_is_never_purged(shop: Shop) -> None:
    """Messages are parked while somebody thinks about the answer."""
    shop.park(range(5))

    def agreed(count: int) -> bool:
        assert count == 5
        shop.park(range(5, 8))
        return True

    done = purge(shop.letters, Selection(), agreed)
    assert (done.seen, done.matched, done.removed) == (5, 5, 5)
    assert shop.ids("orders.dead") == names_of(range(5, 8))


def test_a_purge_removes_only_what_is_meant(shop: Shop) -> None:
    """The others stay in their order."""
    shop.park(range(10))
    done = purge(shop.letters, Selection(where=condition("header.number in [2, 3, 7]")), lambda count: count == 3)
    shop.wait_count("orders.dead", 7)
    assert done.removed == 3
    assert shop.ids("orders.dead") == names_of([0, 1, 4, 5, 6, 8, 9])


def test_no_is_no(shop: Shop) -> None:
    """Nothing is removed, and everything goes back; nobody is asked about nothing."""
    shop.park(range(3))
    assert purge(shop.letters, Selection(), lambda count: False).removed == 0
    shop.wait_count("orders.dead", 3)
    assert purge(shop.letters, Selection(reason="none"), lambda count: 1 // 0 > 0).matched == 0


def test_an_export_keeps_the_messages(shop: Shop) -> None:
    """And the file has all that they were."""
    shop.park(range(5))
    file = io.BytesIO()
    assert export(shop.letters, Selection(), file).exported == 5
    shop.wait_count("orders.dead", 5)
    letters = [letter_of(line) for line in file.getvalue().splitlines(keepends=True)]
    assert [letter.message_id for letter in letters] == names_of(range(5))
    assert [letter.content for letter in letters] == [{"id": number} for number in range(5)]


def test_what_is_removed_is_in_the_file(shop: Shop, tmp_path: Path) -> None:
    """More than one flush; what was left out stays."""
    shop.park(range(1200))
    with create(tmp_path / "dead.jsonl") as file:
        done = export(shop.letters, Selection(where=condition("header.number != 600")), file, remove=True)
    shop.wait_count("orders.dead", 1)
    assert (done.exported, done.removed) == (1199, 1199)
    lines = (tmp_path / "dead.jsonl").read_bytes().splitlines(keepends=True)
    assert [letter_of(line).message_id for line in lines] == names_of(n for n in range(1200) if n != 600)
    with pytest.raises(FileExistsError):
        create(tmp_path / "dead.jsonl")


class FullDisk(io.BytesIO):
    """A file on a disk that is full after some lines."""

    def write(self, data: object) -> int:
        if self.tell() > 1000:
            raise OSError(28, "No space left on device")
        return super().write(data)  # type: ignore[arg-type]


def test_a_full_disk_loses_nothing(shop: Shop) -> None:
    """What could not be written is still in the queue."""
    shop.park(range(20))
    with pytest.raises(OSError, match="No space left"):
        export(shop.letters, Selection(), FullDisk(), remove=True)
    shop.wait_count("orders.dead", 20)


def test_exported_and_imported_they_are_what_they_were(shop: Shop) -> None:
    """Order, ids, reasons; nothing of it is refused by the broker."""
    shop.park(range(10))
    before = [(one.message_id, one.reason, one.parked_at, one.headers) for one in shop.letters.look(Selection())]
    shop.wait_count("orders.dead", 10)
    file = io.BytesIO()
    export(shop.letters, Selection(), file)
    shop.wait_count("orders.dead", 10)
    shop.take_all("orders.dead")
    user = shop.pool.settings.user
    for line in file.getvalue().splitlines(keepends=True):
        shop.publisher.submit_message(restored_message(letter_of(line), "orders.dead", user)).result()
    after = [(one.message_id, one.reason, one.parked_at, one.headers) for one in shop.letters.look(Selection())]
    headers = ("x-rmqpool-original-exchange", "x-rmqpool-original-routing-key")
    for *_, found in after:
        for name in headers:
            found.pop(name, None)
    assert [one[:3] for one in after] == [one[:3] for one in before]
    assert [{n: v for n, v in one[3].items() if n != "x-delivery-count"} for one in before] == [one[3] for one in after]


def test_a_connection_that_is_lost_during_the_question_removes_nothing(
    shop: Shop, broker: RabbitMQNode, vhost: str
) -> None:
    """Everything went back: the answer came too late, and that is an error."""
    shop.park(range(5))

    def agreed(count: int) -> bool:
        for row in broker.list_connections():
            if row["vhost"] == vhost and ":lease" in (row["user_provided_name"] or ""):
                broker.close_connection(row["user_provided_name"])
        shop.wait_count("orders.dead", 5)
        return True

    with pytest.raises(Exception, match=r"clos|lost"):
        purge(shop.letters, Selection(), agreed)
    shop.wait_count("orders.dead", 5)
