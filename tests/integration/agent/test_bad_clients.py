"""Whatever one client does, or does not do, the others behind the same connection notice nothing."""

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from agent_client import RawClient, publish_frames
from agent_process import LocalAgent, agent_folder
from pika import spec

from rmqpool import ConnectionPool, NotSentError, Publisher, Queue
from rmqpool.errors import PublishPreconditionError
from rmqpool.testing.waiting import wait_until

PATIENCE = 60.0


@pytest.fixture(scope="module")
def agent(broker_url: str) -> Iterator[LocalAgent]:
    """With one connection, so that everybody shares it."""
    with (
        agent_folder() as folder,
        LocalAgent(folder / "agent.sock", broker_url, connections=1, memory=48 * 2**20) as one,
    ):
        yield one.wait_ready()


@pytest.fixture
def innocent(agent: LocalAgent, queue_name: str) -> Iterator[Callable[[], None]]:
    """Another client of the same agent: calling it proves that its channel is still the one it had."""
    with Publisher(agent.url, declare=[Queue(queue_name, type="classic")]) as publisher:
        publisher.publish(queue_name, b"before", timeout=PATIENCE)
        wait_until(lambda: agent.figures()["clients"] == 2, "its two connections", timeout=PATIENCE)
        lost = agent.figures()["lost"]

        def works() -> None:
            assert publisher.publish(queue_name, b"x", timeout=PATIENCE).attempts == 1
            assert agent.figures()["lost"] == lost

        yield works


def count(url: str, queue: str) -> int:
    with ConnectionPool(url) as pool, pool.channel() as channel:
        return int(channel.queue_declare(queue, passive=True).message_count)


def test_a_client_killed_in_the_middle_of_a_message_leaves_nothing_of_it(
    agent: LocalAgent, innocent: Callable[[], None], broker_url: str, queue_name: str
) -> None:
    """What it had said before is published, its channel is closed, the rest is forgotten."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        client = RawClient(agent.path).shake_hands().open(1)
        client.socket.sendall(publish_frames(1, queue_name, b"whole"))
        client.socket.sendall(publish_frames(1, queue_name, b"h" * 200_000)[:150_000])
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    wait_until(lambda: agent.figures()["waiting_bytes"] >= 100_000, "half a message", timeout=PATIENCE)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_until(lambda: agent.figures()["clients"] == 2, "the end of the client", timeout=PATIENCE)
    innocent()
    wait_until(lambda: agent.figures()["channels"] == 1, "the end of its channel", timeout=PATIENCE)
    wait_until(lambda: agent.figures()["waiting_bytes"] == 0, "nothing on its way", timeout=PATIENCE)
    wait_until(lambda: count(broker_url, queue_name) == 3, "before, whole and x", timeout=PATIENCE)
    os.close(reader)
    os.close(writer)


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "bytes": bytes(range(256)) * 16,
    "after the greeting": b"AMQP\x00\x00\x09\x01" + b"\xff" * 50,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_ends_its_client_only(agent: LocalAgent, innocent: Callable[[], None], garbage: bytes) -> None:
    """At once."""
    with RawClient(agent.path) as client:
        client.socket.sendall(garbage)
        client.wait_end()
    innocent()


def test_frames_that_would_end_the_connection_end_their_client(agent: LocalAgent, innocent: Callable[[], None]) -> None:
    """Properties that the broker cannot decode, a flag that it does not know: 541 and 540 for everybody, without a fence."""
    for said, code in ((spec.Basic.Publish(immediate=True), 540), (spec.Basic.Qos(prefetch_size=5), 540)):
        with RawClient(agent.path).shake_hands().open(1) as client:
            client.say(1, said)
            assert client.expect(spec.Connection.Close).reply_code == code
            client.say(0, spec.Connection.CloseOk())
            client.wait_end()
        innocent()
    table = b"\x04name?"  # a value of a type that does not exist
    payload = struct.pack(">HHQHI", 60, 0, 0, 1 << 13, len(table)) + table
    with RawClient(agent.path).shake_hands().open(1) as client:
        client.say(1, spec.Basic.Publish(routing_key="q"))
        client.socket.sendall(struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce")
        assert client.expect(spec.Connection.Close).reply_code == 502
    innocent()


def test_what_the_agent_cannot_see_coming_ends_all_connections_once_only(broker_url: str, queue_name: str) -> None:
    """basic.get from a stream is 540 for everybody; who says it again, over any of the connections, is alone with it."""
    with (
        agent_folder() as folder,
        LocalAgent(folder / "agent.sock", broker_url) as agent,
        Publisher(agent.wait_ready().url, declare=[Queue(queue_name, type="stream")]) as publisher,
    ):
        publisher.publish(queue_name, b"x", timeout=PATIENCE)
        for code in (320, 540, 540):
            with RawClient(agent.path).shake_hands().open(1) as client:
                client.say(1, spec.Basic.Get(queue=queue_name))
                assert client.expect(spec.Connection.Close).reply_code == code
            wait_until(lambda: agent.figures()["lost"] == 1, "the one loss", timeout=PATIENCE)
            agent.wait_ready()
            publisher.publish(queue_name, b"x", timeout=PATIENCE)


def test_a_client_that_does_not_read_is_cut(
    agent: LocalAgent, innocent: Callable[[], None], broker_url: str, queue_name: str
) -> None:
    """It consumes more than the agent keeps for it; what it did not read is delivered to somebody else."""
    with Publisher(broker_url) as direct:
        direct.publish_many(queue_name, [b"x" * 500_000] * 20, timeout=PATIENCE)
    with RawClient(agent.path, receive_buffer=4096).shake_hands().open(1) as client:
        client.say(1, spec.Basic.Consume(queue=queue_name, consumer_tag="slow"))
        wait_until(lambda: agent.told("it does not read"), "the cut", timeout=PATIENCE)
        client.wait_end()
        wait_until(lambda: agent.figures()["clients"] == 2, "the end of the client", timeout=PATIENCE)
    innocent()
    wait_until(lambda: count(broker_url, queue_name) == 22, "all messages in the queue", timeout=PATIENCE)


def test_a_client_that_stands_still_is_cut_by_its_heartbeat(agent: LocalAgent, innocent: Callable[[], None]) -> None:
    """As the broker would do."""
    with RawClient(agent.path).shake_hands(heartbeat=1) as client:
        client.wait_end()
    wait_until(lambda: agent.told("nothing came from it for"), "its line in the log", timeout=PATIENCE)
    innocent()


def test_messages_that_are_begun_and_not_ended_take_a_bounded_memory(
    agent: LocalAgent, innocent: Callable[[], None], broker_url: str, queue_name: str
) -> None:
    """Ten clients send messages of 4 MB at once: the agent keeps 16 MiB at most, and each message comes to its end."""
    whole = publish_frames(1, queue_name, b"m" * 4_000_000)
    clients = [RawClient(agent.path).shake_hands().open(1, confirms=True) for _ in range(10)]

    def publish(client: RawClient) -> None:
        client.socket.sendall(whole)
        assert client.expect(spec.Basic.Ack).delivery_tag == 1

    most = 0
    with ThreadPoolExecutor(len(clients)) as threads:
        sent = [threads.submit(publish, client) for client in clients]
        while not all(one.done() for one in sent):
            innocent()
            most = max(most, agent.figures()["waiting_bytes"])
    assert [one.result() for one in sent] == [None] * 10
    assert most < 16 * 2**20
    for client in clients:
        client.socket.close()


def test_a_client_that_stops_in_the_middle_gives_way_when_memory_is_short(
    agent: LocalAgent, innocent: Callable[[], None], queue_name: str
) -> None:
    """Others wait for it, so it does not have all the time in the world."""
    whole = publish_frames(1, queue_name, b"m" * 4_000_000)
    with RawClient(agent.path).shake_hands().open(1) as first, RawClient(agent.path).shake_hands().open(1) as second:
        first.socket.sendall(whole[:-100])
        second.open(2, confirms=True)
        second.socket.sendall(publish_frames(2, queue_name, b"m" * 4_000_000))
        assert second.expect(spec.Basic.Ack).delivery_tag == 1
        first.wait_end()
    wait_until(lambda: agent.told("it stopped in the middle"), "its line in the log", timeout=PATIENCE)
    innocent()


def test_one_client_too_many_is_told_so(folder: Path, broker_url: str) -> None:
    """With the option that helps; when another leaves, there is room."""
    with LocalAgent(folder / "agent.sock", broker_url, max_clients=2).wait_ready() as agent:
        with (
            RawClient(agent.path).shake_hands(),
            RawClient(agent.path).shake_hands(),
            RawClient(agent.path) as third,
            pytest.raises(AssertionError, match="--max-clients"),
        ):
            third.shake_hands()
        wait_until(lambda: agent.figures()["clients"] == 0, "room", timeout=PATIENCE)
        with RawClient(agent.path).shake_hands():
            pass


def test_a_client_with_many_channels_leaves_some_to_others(folder: Path, broker_url: str) -> None:
    """The last eighth is for those that have few; who wants more is told which option helps."""
    with LocalAgent(folder / "agent.sock", f"{broker_url}?channel_max=64", connections=1).wait_ready() as agent:
        with RawClient(agent.path).shake_hands() as greedy, RawClient(agent.path).shake_hands() as modest:
            for number in range(1, 57):
                greedy.open(number)
            greedy.say(57, spec.Channel.Open())
            refused = greedy.expect(spec.Channel.Close)
            assert (refused.reply_code, "--connections" in refused.reply_text) == (506, True)
            for number in range(1, 9):
                modest.open(number)
            with (
                Publisher(agent.url) as publisher,
                pytest.raises(NotSentError, match="--connections"),
            ):
                publisher.publish("orders", b"x", timeout=2.0)
        wait_until(lambda: agent.figures()["channels"] == 0, "the end of all channels", timeout=PATIENCE)


def test_closes_of_both_sides_at_once_leave_no_channel_behind(agent: LocalAgent, innocent: Callable[[], None]) -> None:
    """RabbitMQ answers no close that came before its own: the number is free, and the client has its close-ok, all the same."""
    with RawClient(agent.path).shake_hands() as client:
        for number in range(1, 201):
            client.open(number)
            client.say(number, spec.Tx.Commit())  # an error: the channel is not transactional
            client.say(number, spec.Channel.Close(200, "", 0, 0))
            while isinstance(client.expect((spec.Channel.Close, spec.Channel.CloseOk)), spec.Channel.Close):
                client.say(number, spec.Channel.CloseOk())
    wait_until(lambda: agent.figures()["channels"] == 1, "the end of all but the innocent's", timeout=PATIENCE)
    innocent()


def test_a_client_that_says_nothing_does_not_stay(agent: LocalAgent, innocent: Callable[[], None]) -> None:
    """The handshake has a deadline."""
    with socket.socket(socket.AF_UNIX) as mute:
        mute.settimeout(PATIENCE)
        mute.connect(str(agent.path))
        assert mute.recv(1) == b""
    innocent()


def test_a_message_that_is_too_large_for_the_agent_ends_as_one_that_is_too_large_for_the_broker(
    agent: LocalAgent, innocent: Callable[[], None], queue_name: str
) -> None:
    """406 on its channel, with the option that helps; the publisher goes on."""
    with Publisher(agent.url) as publisher:
        with pytest.raises(PublishPreconditionError, match="more --memory"):
            publisher.publish(queue_name, b"x" * (9 * 2**20), timeout=PATIENCE)
        assert publisher.publish(queue_name, b"x", timeout=PATIENCE).outcome == "confirmed"
    innocent()


def test_clients_share_the_channels_that_there_are(folder: Path, broker_url: str) -> None:
    """One that finds none left waits for one, by its deadline, and no other is harmed."""
    separator = "&" if "?" in broker_url else "?"
    with LocalAgent(
        folder / "agent.sock", f"{broker_url}{separator}channel_max=2", connections=1
    ).wait_ready() as agent:

        def publish(publisher: Publisher, timeout: float) -> str:
            return str(publisher.publish_to("", "nowhere", b"x", mandatory=False, timeout=timeout).outcome)

        with Publisher(agent.url) as first, Publisher(agent.url) as third:
            with Publisher(agent.url) as second:
                assert publish(first, PATIENCE) == publish(second, PATIENCE) == "confirmed"
                with pytest.raises(NotSentError):
                    publish(third, 1.0)
                assert publish(first, PATIENCE) == publish(second, PATIENCE) == "confirmed"
            assert publish(third, PATIENCE) == "confirmed"
