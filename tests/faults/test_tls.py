"""Row 30 of the fault matrix: TLS fails closed, at once, and says why. The authority is made by the tests."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from agent_process import LocalAgent, agent_folder

from faults.harness import Events, Waiter, drain, judge, open_pool, publish_recorded, until
from faults.tally import BURSTS, BUSY, keep_busy
from rmqpool import Consumer, Delivery, Publisher, Queue
from rmqpool.amqp.link import LinkEvent
from rmqpool.errors import ConnectionFailedError, TLSError
from rmqpool.settings import ConnectionSettings, Secret, TLSSettings
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq_node import RabbitMQNode
from rmqpool.testing.services import private_rabbitmq


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and the files of what it issued."""

    authority: trustme.CA
    folder: Path

    @property
    def file(self) -> str:
        """The authority's own certificate."""
        path = self.folder / "authority.pem"
        self.authority.cert_pem.write_to_path(path)
        return str(path)

    def issue(self, *names: str, **options: Any) -> tuple[str, str]:
        """A certificate for the names: the files of the chain and of the key."""
        certificate = self.authority.issue_cert(*names, **options)
        chain, key = self.folder / f"{names[0]}.pem", self.folder / f"{names[0]}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(key)
        return str(chain), str(key)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the brokers' certificates are from."""
    return Authority(trustme.CA(), tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(trustme.CA(organization_name="stranger"), tmp_path_factory.mktemp("stranger"))


def _node(authority: Authority, certificate: tuple[str, str], **options: str) -> Iterator[RabbitMQNode]:
    config = {
        "ssl_options.cacertfile": authority.file,
        "ssl_options.certfile": certificate[0],
        "ssl_options.keyfile": certificate[1],
        "ssl_options.verify": "verify_none",
        **{f"ssl_options.{name}": value for name, value in options.items()},
    }
    with private_rabbitmq(config) as node:
        yield node


@pytest.fixture(scope="module")
def tls_broker(authority: Authority) -> Iterator[RabbitMQNode]:
    """A node with a certificate for localhost and 127.0.0.1, which lets nobody in without one of the same authority."""
    options = {"verify": "verify_peer", "fail_if_no_peer_cert": "true"}
    yield from _node(authority, authority.issue("localhost", "127.0.0.1"), **options)


@pytest.fixture(scope="module")
def expired_broker(authority: Authority) -> Iterator[RabbitMQNode]:
    """A node whose certificate ended yesterday."""
    now = datetime.datetime.now(datetime.UTC)
    lifetime = {"not_before": now - datetime.timedelta(days=30), "not_after": now - datetime.timedelta(days=1)}
    yield from _node(authority, authority.issue("127.0.0.1", **lifetime))


def accepted(authority: Authority) -> TLSSettings:
    """What the broker and we accept: its authority, and a certificate of ours from there."""
    certificate, key = authority.issue("a-client")
    return TLSSettings(cafile=authority.file, certfile=certificate, keyfile=key)


def settings_of(
    node: RabbitMQNode, tls: TLSSettings | None, *, port: int | None = None, host: str = "127.0.0.1"
) -> ConnectionSettings:
    return ConnectionSettings(
        hosts=((host, port or node.tls_port or 0),), user=node.user, password=Secret(node.password), tls=tls
    )


def _refused(settings: ConnectionSettings, kind: type[ConnectionFailedError] = TLSError) -> ConnectionFailedError:
    """Open a pool, which must fail at once, of one attempt; return why."""
    events = Events()
    with open_pool(settings, on_event=events) as pool:
        waiter = Waiter(lambda: pool.open(timeout=10.0)).wait(12.0)
        assert isinstance(waiter.error, kind), repr(waiter.error)
        assert waiter.seconds < 3.0, "it failed, but not at once"
        assert not events.of(LinkEvent.CONNECTED)
        assert len(events.of(LinkEvent.CONNECT_FAILED)) == 1
        # An error of this kind is not tried again soon: nobody hammers a broker with a certificate that it refuses.
        with pytest.raises(kind):
            pool.wait(0.5)
        assert pool.stats().publish[0].attempts == 1
        return waiter.error


# What works


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_publishing_works_over_tls(tls_broker: RabbitMQNode, authority: Authority, queue_name: str, host: str) -> None:
    """With the right authority, a client certificate, a name or an address: bodies of any size arrive whole."""
    checker = TotalQueueChecker()
    with open_pool(settings_of(tls_broker, accepted(authority), host=host)) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        for name, size in (("small", 10), ("5-MB", 5_000_000), ("small-again", 10)):
            assert publish_recorded(publisher, queue_name, name, checker, size=size).attempts == 1
        assert publisher.publish_many(queue_name, [b"y"] * 500).confirmed == 500
        with pool.channel() as channel:
            assert len(_take(channel, queue_name).body) == 10
            large = _take(channel, queue_name)
            assert (large.message_id, len(large.body)) == ("5-MB", 5_000_000)


def _take(channel: Any, queue: str) -> Any:
    delivery = channel.basic_get(queue, auto_ack=True)
    assert delivery is not None
    return delivery


def test_the_url_takes_the_files(tls_broker: RabbitMQNode, authority: Authority, queue_name: str) -> None:
    """amqps:// with cacertfile=, certfile= and keyfile= is all that is needed."""
    tls = accepted(authority)
    user = f"{tls_broker.user}:{tls_broker.password}"
    files = f"cacertfile={tls.cafile}&certfile={tls.certfile}&keyfile={tls.keyfile}"
    url = f"amqps://{user}@127.0.0.1:{tls_broker.tls_port}/%2f?{files}"
    with open_pool(url) as pool:
        assert Publisher(pool, declare=[Queue(queue_name)]).publish(queue_name, b"x").attempts == 1


def test_a_busy_tls_connection_is_not_taken_for_a_silent_one(
    tls_broker: RabbitMQNode, authority: Authority, queue_name: str
) -> None:
    """As over plain TCP: load in both directions, on the same path with the same large reads."""
    settings = replace(settings_of(tls_broker, accepted(authority)), heartbeat=1)
    with open_pool(settings) as pool:
        verdict = keep_busy(pool, queue_name, BUSY, BURSTS)
    assert verdict.confirmed == verdict.attempted


def test_a_tls_connection_cut_off_comes_back(tls_broker: RabbitMQNode, authority: Authority, queue_name: str) -> None:
    """Resets in the middle of TLS records lose nothing."""
    checker = TotalQueueChecker()
    assert tls_broker.tls_port is not None
    with FaultProxy((tls_broker.host, tls_broker.tls_port)) as proxy:
        settings = settings_of(tls_broker, accepted(authority), port=proxy.port)
        with open_pool(settings) as pool:
            publisher = Publisher(pool, declare=[Queue(queue_name)])
            publish_recorded(publisher, queue_name, "first", checker)
            for number, count in enumerate((1, 500, 100_001, 700_000)):
                fault = proxy.reset_after(count, "to_broker")
                confirmation = publish_recorded(publisher, queue_name, f"m-{number}", checker, size=1_000_000)
                assert fault.wait(5.0)
                assert confirmation.outcome == "confirmed"
    drain(tls_broker.amqp_url(), queue_name, checker)
    judge(checker)


def test_an_agent_connects_to_its_broker_over_tls(
    tls_broker: RabbitMQNode, authority: Authority, queue_name: str
) -> None:
    """Its clients know nothing of it: large bodies in both directions, and a consumer, which has a connection of its own."""
    tls = accepted(authority)
    files = f"cacertfile={tls.cafile}&certfile={tls.certfile}&keyfile={tls.keyfile}"
    url = f"amqps://{tls_broker.user}:{tls_broker.password}@127.0.0.1:{tls_broker.tls_port}/%2f?{files}"
    body = os.urandom(2_000_000)
    arrived: list[Delivery] = []
    with agent_folder() as folder, LocalAgent(folder / "agent.sock", url) as agent, open_pool(agent.url) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        assert publisher.publish(queue_name, body, timeout=60.0).attempts == 1
        assert publisher.publish_many(queue_name, [b"y"] * 500, timeout=60.0).confirmed == 500
        with Consumer(pool, queue_name, arrived.append, prefetch=1000):
            until(lambda: len(arrived) == 501, "all messages", timeout=60.0)
        assert arrived[0].body == body
        assert agent.figures()["lost"] == 0


# What fails closed


def test_an_unknown_authority_is_refused(tls_broker: RabbitMQNode, stranger: Authority) -> None:
    """The broker's certificate is from an authority that we do not trust."""
    error = _refused(settings_of(tls_broker, TLSSettings(cafile=stranger.file)))
    assert "is not accepted" in str(error)
    assert "name the file of the authority that issued it (cafile)" in str(error)


def test_the_systems_authorities_do_not_know_ours(tls_broker: RabbitMQNode) -> None:
    """Without cafile the system's authorities decide, and verification is on."""
    assert "is not accepted" in str(_refused(settings_of(tls_broker, TLSSettings())))


def test_a_wrong_host_name_is_refused(tls_broker: RabbitMQNode, authority: Authority) -> None:
    """The certificate is for localhost; we asked for another name."""
    tls = TLSSettings(cafile=authority.file, server_hostname="rabbit.example.com")
    error = _refused(settings_of(tls_broker, tls))
    assert "rabbit.example.com" in str(error)
    assert "Hostname mismatch" in str(error)


def test_an_expired_certificate_is_refused(expired_broker: RabbitMQNode, authority: Authority) -> None:
    """The certificate ended yesterday."""
    error = _refused(settings_of(expired_broker, TLSSettings(cafile=authority.file)))
    assert "certificate has expired" in str(error)
    assert "renew the certificate" in str(error)


def test_a_missing_client_certificate_is_named(tls_broker: RabbitMQNode, authority: Authority) -> None:
    """TLS 1.3: our side of the handshake is through before the broker's alert comes; it is a TLS error all the same."""
    error = _refused(settings_of(tls_broker, TLSSettings(cafile=authority.file)))
    assert "wants a client certificate" in str(error)
    assert "certfile" in str(error)


def test_a_client_certificate_of_a_stranger_is_refused(
    tls_broker: RabbitMQNode, authority: Authority, stranger: Authority
) -> None:
    """The broker does not know the authority of our certificate."""
    certificate, key = stranger.issue("a-client")
    tls = TLSSettings(cafile=authority.file, certfile=certificate, keyfile=key)
    error = _refused(settings_of(tls_broker, tls))
    assert "client certificate" in str(error)


def test_tls_to_a_plain_port_is_named(tls_broker: RabbitMQNode, authority: Authority) -> None:
    """amqps:// to the port of plain AMQP."""
    error = _refused(settings_of(tls_broker, accepted(authority), port=tls_broker.port))
    assert "does not speak TLS" in str(error)
    assert "amqp://" in str(error)


def test_plain_amqp_to_a_tls_port_is_named(tls_broker: RabbitMQNode) -> None:
    """amqp:// to the port of TLS."""
    error = _refused(settings_of(tls_broker, None))
    assert "speaks TLS" in str(error)
    assert "amqps://" in str(error)


def test_a_certificate_file_that_is_missing_is_named(tls_broker: RabbitMQNode) -> None:
    """The error names the file, not the network."""
    error = _refused(settings_of(tls_broker, TLSSettings(cafile="/no/such/authority.pem")))
    assert "tls.cafile '/no/such/authority.pem' cannot be read" in str(error)
    assert "cannot connect" not in str(error)
