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


def test_what_the_module_itself_refuses_is_told_in_its_own_words(inline: Run, tmp_path: Path) -> None:
    """It is about its environment mostly: a line of its code would tell nobody anything."""
    source = "from rmqpool import ConfigurationError\nraise ConfigurationError('SHOP_URL is not set')\n"
    (tmp_path / "unset.py").write_text(source)
    assert inline("check", "unset:w").err == "rmqpool: SHOP_URL is not set\n"


def test_a_queue_that_is_only_looked_for_is_not_called_declared(inline: Run, tmp_path: Path) -> None:
    """It is somebody else's, and must be there."""
    source = "from rmqpool import Queue, Worker\nw = Worker('w')\nw.consumer(Queue('theirs', passive=True))(lambda body: None)\n"
    (tmp_path / "guest.py").write_text(source)
    ended = inline("check", "guest:w", "--json")
    assert (ended.json["declares"], ended.json["needs"]) == (["theirs.dead"], ["theirs"])
    assert "it declares theirs.dead; theirs must be there" in inline("check", "guest:w").out


def test_a_misspelt_option_is_told_with_the_nearest_one(inline: Run, tmp_path: Path) -> None:
    """With the user's line, and none of ours."""
    (tmp_path / "misspelt.py").write_text(
        "from rmqpool import Worker\nw = Worker('w')\nw.consumer('a', concurency=3)\n"
    )
    ended = inline("check", "misspelt:w")
    assert ended.code == 3
    assert f"{tmp_path / 'misspelt.py'}:3: " in ended.err.splitlines()[-1]
    assert "did you mean concurrency?" in ended.err.lower().replace("'", "")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise KeyError('SHOP_QUEUE')", "reading lazy:worker failed at {file}:3: KeyError: 'SHOP_QUEUE'"),
        ("raise SystemExit(1)", "reading lazy:worker failed at {file}:3: SystemExit: 1"),
        ("return name.no_such", "reading lazy:worker failed at {file}:3: AttributeError: 'str' object has no"),
        ("return rmqpool.Worker('')", "{file}:3: "),
        ("raise AttributeError(name)", "module lazy has no worker; lazy holds no Worker"),
    ],
)
def test_a_module_that_makes_its_worker_when_it_is_asked_for_may_fail_too(
    inline: Run, tmp_path: Path, code: str, told: str
) -> None:
    """What a module's ``__getattr__`` raises is the user's, and no fault inside rmqpool."""
    (tmp_path / "lazy.py").write_text(f"import rmqpool\ndef __getattr__(name):\n    {code}\n")
    ended = inline("check", "lazy:worker")
    assert ended.code == 3
    assert told.format(file=tmp_path / "lazy.py") in ended.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ("@w.consumer('a')\ndef h(): ...", "takes no message"),
        ("@w.consumer('a')\ndef h(body, delivery, more): ...", "more"),
        ("@w.consumer('a')\ndef h(body):\n    yield", "generator"),
        ("@w.consumer('a', concurrency=0)\ndef h(body): ...", "concurrency"),
        ("@w.consumer('a', retry=RetryPolicy(max_attempts=0))\ndef h(body): ...", "max_attempts is 0"),
        ("w.consumer('a')(print_it)\nw.consumer('a')(print_it)", "two handlers"),
    ],
)
@pytest.mark.parametrize("command", ["check", "worker"])
def test_a_wrong_handler_is_one_sentence_with_the_users_own_line(
    inline: Run, tmp_path: Path, command: str, handler: str, told: str
) -> None:
    """rmqpool refuses it while the module is imported: no traceback, and no line of rmqpool's is blamed."""
    source = f"from rmqpool import RetryPolicy, Worker\nw = Worker('w')\ndef print_it(body): print(body)\n{handler}\n"
    (tmp_path / "hh.py").write_text(source)
    line = 5 if told == "two handlers" else 4
    ended = inline(command, "hh:w")
    assert ended.code == 3
    assert ended.err.startswith(f"rmqpool: {tmp_path / 'hh.py'}:{line}: ")
    assert told in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert inline("check", "hh:w", "--json").json["error"]["type"] == "ConfigurationError"
