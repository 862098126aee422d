"""``rmqpool check``: what keeps a worker from starting is found without a broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import Run

SHOP = """
from dataclasses import dataclass
from rmqpool import Queue, Worker

@dataclass
class Order:
    id: int

worker = Worker("orders", declare=[Queue("audit", dead_letter=None)])
number = 7

@worker.consumer("orders", concurrency=4)
def handle(order: Order) -> None: ...
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a worker's module, and modules that fail."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "idle.py").write_text("from rmqpool import Worker\nworker = Worker('idle')\n")
    (tmp_path / "bare.py").write_text("from rmqpool import Worker\n")
    (tmp_path / "fails.py").write_text("def prepare():\n    return 1 / 0\n\nprepare()\n")
    (tmp_path / "syntax.py").write_text("x = (\n")
    (tmp_path / "needs.py").write_text("import something_that_is_not_installed\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)\n")
    return tmp_path


def test_a_worker_is_listed_with_its_consumers(rmqpool: Run, shop: Path) -> None:
    """Queue, handler, figures, body type and what will be declared."""
    ended = rmqpool("check", "shop:worker", "--json")
    assert ended.code == 0, ended.text
    assert ended.json["consumers"] == [
        {
            "queue": "orders",
            "handler": "shop.handle",
            "concurrency": 4,
            "prefetch": 16,
            "body": "shop.Order",
            "on_error": "park",
            "ack": "auto",
        }
    ]
    assert ended.json["declares"] == ["audit", "orders", "orders.dead"] or set(ended.json["declares"]) == {
        "audit",
        "orders",
        "orders.dead",
    }
    assert "shop:worker is ready: 1 consumer" in rmqpool("check", "shop:worker").out


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("shop:workr", "did you mean worker?"),
        ("shop:number", "shop:number is no Worker but an int; its workers: shop:worker"),
        ("shopp:worker", "did you mean shop:worker?"),
        ("shop.py", "did you mean shop:worker?"),
        ("shop.py:worker", "shop.py is a file, not a module: did you mean shop:worker?"),
        ("shopp.py:worker", "did you mean shop:worker?"),
        ("./shop.py:worker", "did you mean shop:worker?"),
        ("jobs/shop.py:worker", "did you mean jobs.shop:worker?"),
        ("idle:worker", "has no consumer"),
        ("json:worker", 'json holds no Worker: write worker = Worker("json") in it'),
        ("bare:worker", 'bare has no worker; bare holds no Worker: write worker = Worker("bare") in it'),
        ("bare:Worker", "bare:Worker is no Worker but the class Worker; bare holds no Worker"),
    ],
)
def test_a_mistake_is_one_sentence_with_a_suggestion(inline: Run, shop: Path, path: str, told: str) -> None:
    """Exit code 3, no traceback."""
    ended = inline("check", path)
    assert ended.code == 3
    assert told in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("module", "place", "kind"),
    [
        ("fails", "fails.py:2", "ZeroDivisionError"),
        ("syntax", "syntax.py:1", "SyntaxError"),
        ("needs", "needs.py:1", "something_that_is_not_installed"),
        ("leaves", "leaves.py:1", "SystemExit"),
    ],
)
def test_a_module_that_fails_shows_its_own_traceback_only(
    inline: Run, shop: Path, module: str, place: str, kind: str
) -> None:
    """The user's frames and the line; none of ours, none of the import machinery's."""
    ended = inline("check", f"{module}:worker")
    assert ended.code == 3
    assert place in ended.err.splitlines()[-1]
    assert kind in ended.err
    assert "importlib" not in ended.err
    assert "rmqpool/cli" not in ended.err


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ("@w.consumer('a')\ndef h(): ...", "takes no message"),
        ("@w.consumer('a')\ndef h(body, delivery, more): ...", "more"),
        ("@w.consumer('a')\ndef h(body):\n    yield", "generator"),
        ("@w.consumer('a', concurrency=0)\ndef h(body): ...", "concurrency"),
        ("w.consumer('a')(print_it)\nw.consumer('a')(print_it)", "two handlers"),
    ],
)
@pytest.mark.parametrize("command", ["check", "worker"])
def test_a_wrong_handler_is_one_sentence_with_the_users_own_line(
    inline: Run, tmp_path: Path, command: str, handler: str, told: str
) -> None:
    """rmqpool refuses it while the module is imported: no traceback, and no line of rmqpool's is blamed."""
    source = f"from rmqpool import Worker\nw = Worker('w')\ndef print_it(body): print(body)\n{handler}\n"
    (tmp_path / "hh.py").write_text(source)
    line = 5 if told == "two handlers" else 4
    ended = inline(command, "hh:w")
    assert ended.code == 3
    assert ended.err.startswith(f"rmqpool: {tmp_path / 'hh.py'}:{line}: ")
    assert told in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert inline("check", "hh:w", "--json").json["error"]["type"] == "ConfigurationError"
