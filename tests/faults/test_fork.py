"""Row 24 of the fault matrix: a process that has an open pool forks. Both processes work, and neither disturbs the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from faults.harness import drain, judge
from faults.processes import Ended, record, run_program
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
    return f"{secure}?cafile={quote(str(tmp_path / 'ca.pem'), safe='')}", node.amqp_url()


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
    """The parent publishes on four threads while it forks three children; they publish and lease; the parent's connection lives."""
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
