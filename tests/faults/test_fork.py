"""Row 24 of the fault matrix: a process that has an open pool forks. Both processes work, and neither disturbs the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from faults.harness import drain, judge
from faults.processes import Ended, record, run_program, start_program
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.rabbitmq import RabbitMQNode

CHILDREN = 3


@pytest.fixture(params=["plain", "tls"])
def urls(
    request: pytest.FixtureRequest, broker_factory: Callable[..., RabbitMQNode], tmp_path: Path
) -> tuple[str, str]:
    """The URL that the program uses, and a plain one for the test."""
    if request.param == "plain":
        broker: RabbitMQNode = request.getfixturevalue("broker")
        return broker.amqp_url(), broker.amqp_url()
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    node = broker_factory(
        {
            "ssl_options.cacertfile": str(tmp_path / "ca.pem"),
            "ssl_options.certfile": str(tmp_path / "certificate.pem"),
            "ssl_options.keyfile": str(tmp_path / "key.pem"),
        }
    )
    secure = node.amqp_url(port=node.tls_port).replace("amqp://", "amqps://")
    return f"{secure}?cacertfile={quote(str(tmp_path / 'ca.pem'), safe='')}", node.amqp_url()


def check(ended: Ended, url: str, queue: str, anonymous: int) -> None:
    """Every message is confirmed and received, in whichever process it was published; ``anonymous`` have ids of their own."""
    checker = TotalQueueChecker()
    record(ended, checker)
    drain(url, queue, checker)
    verdict = checker.verdict()
    assert len(verdict.phantom) == anonymous, "the children's batches have ids that they did not tell"
    assert not verdict.lost
    assert verdict.confirmed == verdict.attempted
    assert verdict.duplicates == 0


def test_prefork_server_works_in_parent_and_children(urls: tuple[str, str], queue_name: str) -> None:
    """The parent publishes on four threads while it forks three children; they publish and lease; its connection lives."""
    ended = run_program("prefork", urls[0], queue_name, CHILDREN, timeout=60)

    assert ended.code == 0, ended.stderr
    parent = ended.of("parent")[0]
    assert parent["codes"] == [0] * CHILDREN, ended.stderr
    assert (parent["epoch"], parent["lease"]) == (1, True), "the children disturbed the parent's connections"
    assert {line["error"] for line in ended.of("inherited")} <= {"UnknownOutcomeError"}
    assert [line["error"] for line in ended.of("inherited-lease")] == ["PoolClosedError"] * CHILDREN
    assert len(ended.of("leased")) == CHILDREN
    assert [line["counts"]["confirmed"] for line in ended.of("many")] == [30] * CHILDREN
    assert len({line["pid"] for line in ended.of("published")}) == 1 + CHILDREN
    assert ended.stderr == ""
    check(ended, urls[1], queue_name, anonymous=30 * CHILDREN)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_children_publish_and_leave_the_parents_consumer_alone(
    broker: RabbitMQNode, queue_name: str, method: str
) -> None:
    """Children of either kind publish; what the parent's consumer holds is settled by the parent only."""
    ended = run_program("fork_multiprocessing", broker.amqp_url(), queue_name, method, timeout=60)

    assert ended.code == 0, ended.stderr
    parent = ended.of("parent")[0]
    assert parent["codes"] == [0] * CHILDREN, ended.stderr
    assert parent["acknowledged"] is True
    assert parent["consumer"] == [1, 0, 1], "one subscription, nothing stale, one delivery"
    assert parent["epoch"] == 1
    if method == "fork":
        assert [line["answers"] for line in ended.of("settled-in-child")] == [[False]] * CHILDREN
    assert ended.stderr == ""
    checker = TotalQueueChecker()
    record(ended, checker)
    drain(broker.amqp_url(), queue_name, checker)
    verdict = judge(checker)
    assert (verdict.confirmed, verdict.duplicates) == (25 * (2 + CHILDREN), 0)
    held = TotalQueueChecker()
    drain(broker.amqp_url(), f"{queue_name}-held", held)
    assert held.verdict().received == 0, "the parent's ack arrived"


def test_child_does_not_wait_for_what_a_thread_of_the_parent_held(
    private_broker: RabbitMQNode, queue_name: str
) -> None:
    """Forked while another thread declares the topology: that thread is not there in the child, and nobody waits for it."""
    with start_program("fork_while_declaring", private_broker.amqp_url(), queue_name) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"] == "open"
        private_broker.pause()
        process.stdin.write("paused\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["kind"] == "forked"
        private_broker.resume()
        stdout, stderr = process.communicate(timeout=40)
    ended = Ended(process.returncode, [json.loads(line) for line in stdout.splitlines()], stderr, 0.0)

    assert ended.code == 0, stderr
    assert ended.of("parent")[0]["code"] == 0, ended.told
    checker = TotalQueueChecker()
    record(ended, checker)
    drain(private_broker.amqp_url(), queue_name, checker)
    assert judge(checker).confirmed == 4
