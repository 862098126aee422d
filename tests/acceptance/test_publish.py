"""``rmqpool publish``: every message ends in one of five outcomes, and the summary says how many in which."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prepared import Prepared

from rmqpool import ConnectionPool, Delivery, Publisher, Queue
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import Run, environment, on_a_terminal


def received(url: str, queue: str) -> list[Delivery]:
    """All messages of a queue."""
    with ConnectionPool(url) as pool, pool.channel() as channel:
        found = []
        while (delivery := channel.basic_get(queue, auto_ack=True)) is not None:
            found.append(delivery)
        return found


def test_a_body_goes_out_byte_for_byte_with_its_content_type(rmqpool: Run, vhost_url: str) -> None:
    """JSON is application/json and unchanged, text is text/plain; headers and persistence are as asked."""
    body = '{"id":  7, "name": "Zoë"}'
    first = rmqpool("publish", "orders", body, "--declare", "--header", "tenant=a=b", "--url", vhost_url)
    second = rmqpool("publish", "orders", "-", "--transient", "--url", vhost_url, stdin="just text")
    messages = received(vhost_url, "orders")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.out.startswith("1 confirmed, 0 returned, 0 nacked, 0 not sent, 0 unknown")
    assert [message.body for message in messages] == [body.encode(), b"just text"]
    assert [message.content_type for message in messages] == ["application/json", "text/plain"]
    assert messages[0].headers["tenant"] == "a=b"
    assert messages[0].delivery_mode == 2


def test_a_queue_that_does_not_exist_is_an_outcome_and_exit_code_1(rmqpool: Run, vhost_url: str) -> None:
    """The message is returned, and the sentence says what to do."""
    ended = rmqpool("publish", "nowhere", "x", "--url", vhost_url, "--json")
    assert ended.code == 1
    assert ended.json["ok"] is False
    assert ended.json["outcomes"] == {"confirmed": 0, "returned": 1, "nacked": 0, "not_sent": 0, "unknown": 0}
    assert "declare it" in ended.json["failures"][0]["error"]


def test_an_exchange_that_does_not_exist_is_nacked(inline: Run, vhost_url: str) -> None:
    """With --exchange QUEUE is the routing key; the broker refuses an unknown exchange."""
    ended = inline("publish", "order.created", "x", "--exchange", "nope", "--url", vhost_url, "--json")
    assert ended.code == 1
    assert ended.json["outcomes"]["nacked"] == 1
    assert "'nope'" in ended.json["failures"][0]["error"]


def test_a_file_of_lines_is_published_in_order(rmqpool: Run, vhost_url: str, tmp_path: Path) -> None:
    """More lines than may be on their way at once all arrive, in order; empty lines are none."""
    lines = [f'{{"id": {number}}}' for number in range(2500)]
    (tmp_path / "orders.jsonl").write_text("\n\n".join(lines))
    ended = rmqpool("publish", "orders", "--jsonl", "orders.jsonl", "--declare", "--url", vhost_url, "--json")
    assert ended.code == 0, ended.text
    assert ended.json["outcomes"]["confirmed"] == 2500
    assert [message.body.decode() for message in received(vhost_url, "orders")] == lines


def test_a_wrong_line_stops_the_run_and_names_file_and_line(rmqpool: Run, vhost_url: str, tmp_path: Path) -> None:
    """The lines before it are confirmed, nothing after it is published, and the sentence says how to go on."""
    (tmp_path / "orders.jsonl").write_text('{"id": 1}\n{"id": 2}\n{"id": \n{"id": 4}\n')
    ended = rmqpool("publish", "orders", "--jsonl", "orders.jsonl", "--declare", "--url", vhost_url)
    assert ended.code == 5
    assert "orders.jsonl:3:" in ended.err
    assert "tail -n +3" in ended.err
    assert ended.out.startswith("2 confirmed")
    assert [message.body for message in received(vhost_url, "orders")] == [b'{"id": 1}', b'{"id": 2}']


def test_a_message_that_cannot_be_sent_is_told_with_its_field(inline: Run, vhost_url: str) -> None:
    """A content type of 300 bytes does not fit into AMQP: exit code 5, nothing was written."""
    ended = inline("publish", "orders", "x", "--content-type", "x" * 300, "--url", vhost_url, "--json")
    assert ended.code == 5
    assert ended.json["error"]["field"] == "content_type"


def test_a_body_that_cannot_be_sent_is_called_a_body(inline: Run, vhost_url: str, tmp_path: Path) -> None:
    """Lines are spoken of where there are lines."""
    wrong = ("--content-type", "x" * 300, "--url", vhost_url)
    body = inline("publish", "orders", "x", *wrong)
    assert "the body cannot be sent" in body.err
    assert "line" not in body.err
    (tmp_path / "one.jsonl").write_text("1\n")
    assert "line 1 cannot be sent" in inline("publish", "orders", "--jsonl", "one.jsonl", *wrong).err


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_input_is_said_to_be_empty(rmqpool: Run, vhost_url: str, content: bytes) -> None:
    """All is well, but probably not what was wanted. Machines see it in the figures."""
    ended = rmqpool("publish", "orders", "--jsonl", "-", "--url", vhost_url, stdin=content)
    assert ended.code == 0
    assert ended.err == "note: stdin was empty or blank: there was nothing to publish\n"
    assert ended.out.startswith("0 confirmed")
    assert rmqpool("publish", "orders", "--jsonl", "-", "--url", vhost_url, "--json", stdin=content).err == ""


def test_a_dead_broker_leaves_a_summary_too(rmqpool: Run) -> None:
    """Nothing of a file was read, and the last line says so; with a single body the sentence is enough."""
    port = ReservedPort()
    port.release()
    dead = ("--url", f"amqp://127.0.0.1:{port.number}/", "--timeout", "1")
    ended = rmqpool("publish", "orders", "--jsonl", "-", *dead, stdin="1\n2\n")
    assert ended.code == 4
    assert "is RabbitMQ running?" in ended.err
    assert ended.out.startswith("0 confirmed, 0 returned, 0 nacked, 0 not sent, 0 unknown")
    told = rmqpool("publish", "orders", "--jsonl", "-", *dead, "--json", stdin="1\n2\n").json
    assert (told["ok"], told["last_line"], told["error"]["type"]) == (False, 0, "ConnectionFailedError")
    assert rmqpool("publish", "orders", "x", *dead).out == ""


def test_a_file_that_is_not_there_is_a_sentence(inline: Run) -> None:
    """No broker is asked when there is nothing to read."""
    ended = inline("publish", "orders", "--jsonl", "nowhere.jsonl", "--url", "amqp://no-such-host.invalid/")
    assert ended.code == 5
    assert "nowhere.jsonl cannot be read" in ended.err


def test_the_rate_is_kept(rmqpool: Run, vhost_url: str) -> None:
    """20 messages at 40 a second take half a second, less the first."""
    stdin = "\n".join(str(number) for number in range(20))
    ended = rmqpool(
        "publish", "orders", "--jsonl", "-", "--rate", "40", "--declare", "--json", "--url", vhost_url, stdin=stdin
    )
    assert ended.json["outcomes"]["confirmed"] == 20
    assert 0.4 <= ended.json["seconds"] <= 2.5


def test_a_full_queue_nacks_and_the_others_go_on(rmqpool: Run, vhost_url: str) -> None:
    """Verdicts of the broker do not stop the run: two of five find room, three are nacked."""
    queue = Queue("small", type="classic", max_length=2, overflow="reject-publish", dead_letter=None)
    with ConnectionPool(vhost_url) as pool:
        pool.declare_once([queue])
    ended = rmqpool(
        "publish",
        "small",
        "--jsonl",
        "-",
        "--rate",
        "50",
        "--url",
        vhost_url,
        "--json",
        "--timeout",
        "3",
        stdin="1\n2\n3\n4\n5\n",
    )
    assert ended.code == 1
    assert ended.json["outcomes"] == {"confirmed": 2, "returned": 0, "nacked": 3, "not_sent": 0, "unknown": 0}
    assert [failure["line"] for failure in ended.json["failures"]] == [3, 4, 5]


def test_a_blocked_broker_ends_the_run_by_the_deadline(
    rmqpool: Run, private_broker: RabbitMQNode, queue_name: str
) -> None:
    """Under a memory alarm nothing hangs: what has no confirm by its deadline is told, and reading stops there."""
    url = private_broker.amqp_url()
    with Publisher(url, declare=[Queue(queue_name)]) as publisher:
        publisher.publish(queue_name, "before")
    private_broker.raise_memory_alarm()
    stdin = "\n".join(str(number) for number in range(10_000))
    ended = rmqpool("publish", queue_name, "--jsonl", "-", "--timeout", "1", "--json", "--url", url, stdin=stdin)
    private_broker.clear_memory_alarm()
    told = ended.json
    assert ended.code == 1
    assert told["outcomes"]["confirmed"] == 0
    assert told["outcomes"]["not_sent"] + told["outcomes"]["unknown"] == told["last_line"] < 10_000
    assert told["error"]["type"] == "BrokerAway"


def test_ctrl_c_ends_with_a_summary_and_130(vhost_url: str, tmp_path: Path) -> None:
    """Every message handed over before the interrupt is in the books, and no other one is in the queue."""
    with Publisher(vhost_url, declare=[Queue("orders")]) as publisher:
        publisher.publish("orders", "first")
    (tmp_path / "many.jsonl").write_text("".join(f"{number}\n" for number in range(100_000)))
    command = [sys.executable, "-m", "rmqpool", "publish", "orders", "--jsonl", "many.jsonl", "--rate", "200", "--json"]
    process = subprocess.Popen(
        [*command, "--url", vhost_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path
    )
    try:
        with ConnectionPool(vhost_url) as pool, pool.channel() as channel:
            wait_until(
                lambda: channel.queue_declare("orders", passive=True).message_count > 20,
                "messages to arrive",
                timeout=15,
            )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
    finally:
        process.kill()
        process.wait()
    told = json.loads(out)
    assert process.returncode == 130, err
    assert told["error"]["type"] == "Interrupted"
    confirmed = told["outcomes"]["confirmed"]
    assert confirmed + told["withdrawn"] == told["last_line"]
    assert len(received(vhost_url, "orders")) == confirmed + 1
    assert b"Traceback" not in err


def test_a_progress_bar_shows_on_a_terminal_only(
    commands: Prepared, rmqpool: Run, vhost_url: str, tmp_path: Path
) -> None:
    """On a terminal stderr draws a bar, and with NO_COLOR no colours; in a pipe it stays empty."""
    (tmp_path / "few.jsonl").write_text("1\n2\n3\n")
    arguments = ["publish", "orders", "--jsonl", "few.jsonl", "--declare", "--url", vhost_url]
    assert rmqpool(*arguments).err == ""
    shown, reader = on_a_terminal(commands, arguments, tmp_path, "stderr")
    assert shown == 0
    assert "3 messages" in reader
    assert "\x1b[3" not in reader
