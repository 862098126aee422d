"""Promises of the proxy about AMQP: it counts frames and cuts at the very frame that a test names."""

from __future__ import annotations

import select
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from rmqpool.testing.faults import Direction, How

if TYPE_CHECKING:
    from .conftest import Peers

TIMEOUT = 5.0
QUIET = 0.2  # seconds in which nothing must arrive


def frame(frame_type: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", frame_type, channel, len(payload)) + payload + b"\xce"


def ack(tag: int) -> bytes:
    return frame(1, 1, struct.pack(">HHQB", 60, 80, tag, 0))


HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = frame(8, 0, b"")
START, TUNE, OPEN_OK = (frame(1, 0, struct.pack(">HH", 10, method)) for method in (10, 30, 41))
PUBLISH = frame(1, 1, struct.pack(">HHHBBB", 60, 40, 0, 0, 0, 0))
MESSAGE = PUBLISH + frame(2, 1, struct.pack(">HHQH", 60, 0, 4, 0)) + frame(3, 1, b"body")


def receive(sock: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes, or what came before the end of the stream."""
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def is_silent(sock: socket.socket) -> bool:
    """Whether nothing arrives for a while: neither bytes nor an end."""
    return not select.select([sock], [], [], QUIET)[0]


def test_frames_are_counted_by_kind_and_direction(peers: Peers) -> None:
    """What passed is counted once it was written."""
    client, server = peers.pair()
    client.sendall(HEADER + MESSAGE * 2 + HEARTBEAT)
    server.sendall(ack(1) + ack(2) + HEARTBEAT)
    peers.proxy.wait_for_frames("heartbeat", 2, TIMEOUT)
    proxy = peers.proxy
    assert (proxy.frames("basic.publish"), proxy.frames("header"), proxy.frames("body")) == (2, 2, 2)
    assert (proxy.frames("basic.ack", "from_broker"), proxy.frames("basic.ack", "to_broker")) == (2, 0)
    assert (proxy.frames("any", "to_broker"), proxy.frames("any")) == (8, 11)
    assert proxy.frames("any", swallowed=True) == 0


def test_a_frame_that_a_peer_has_read_is_counted(peers: Peers) -> None:
    """A test that saw the effect of a frame may assert on its count at once, without waiting."""
    client, server = peers.pair()
    for count in range(1, 301):
        server.sendall(ack(count))
        assert receive(client, len(ack(count))) == ack(count)
        assert peers.proxy.frames("basic.ack") == count


def test_counts_can_be_read_after_close(peers: Peers) -> None:
    """What went through is known when the proxy is gone."""
    client, server = peers.pair()
    client.sendall(HEARTBEAT)
    assert receive(server, len(HEARTBEAT)) == HEARTBEAT
    peers.proxy.close()
    assert peers.proxy.frames("heartbeat") == 1


def test_frames_split_on_their_way_are_the_same_frames(peers: Peers) -> None:
    """A frame that arrives in two writes counts once, when it is whole, and arrives whole."""
    client, server = peers.pair()
    client.sendall(PUBLISH[:5])
    assert is_silent(server)
    client.sendall(PUBLISH[5:])
    assert receive(server, len(PUBLISH)) == PUBLISH
    peers.proxy.wait_for_frames("basic.publish", 1, TIMEOUT)
    with pytest.raises(TimeoutError, match=r"1 frames of the kind basic\.publish, not 2"):
        peers.proxy.wait_for_frames("basic.publish", 2, 0.01)


def test_half_a_frame_passes_when_its_sender_ends(peers: Peers) -> None:
    """The proxy never eats the bytes of a peer that died in the middle of a frame."""
    client, server = peers.pair()
    client.sendall(PUBLISH[:5])
    client.close()
    assert receive(server, 100) == PUBLISH[:5]


def test_a_wrong_kind_is_refused_everywhere(peers: Peers) -> None:
    """A typing error never waits, counts or cuts."""
    with pytest.raises(ValueError, match="did you mean"):
        peers.proxy.frames("basic.akc")
    with pytest.raises(ValueError, match="did you mean"):
        peers.proxy.wait_for_frames("basic.akc", 1, TIMEOUT)
    with pytest.raises(ValueError, match="did you mean"):
        peers.proxy.cut("basic.akc")


def test_reset_before_the_nth_ack(peers: Peers) -> None:
    """The first ack arrives, the second does not, and both ends see RST."""
    client, server = peers.pair()
    cut = peers.proxy.cut("basic.ack", nth=2, when="before", how="reset")
    server.sendall(ack(1) + HEARTBEAT + ack(2) + ack(3))
    expected = ack(1) + HEARTBEAT
    assert receive(client, len(expected)) == expected
    for sock in (client, server):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert cut.wait(TIMEOUT)
    assert peers.proxy.frames("basic.ack") == 1
    assert peers.proxy.frames("basic.ack", swallowed=True) == 2


def test_reset_after_the_nth_ack(peers: Peers) -> None:
    """The frame itself arrives, the one behind it does not."""
    client, server = peers.pair()
    cut = peers.proxy.cut("basic.ack", nth=2, when="after", how="reset")
    server.sendall(ack(1) + ack(2) + ack(3))
    assert receive(client, len(ack(1)) * 2) == ack(1) + ack(2)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert cut.wait(TIMEOUT)
    assert (peers.proxy.frames("basic.ack"), peers.proxy.frames("basic.ack", swallowed=True)) == (2, 1)


def test_everything_before_a_reset_arrives_at_a_slow_reader(peers: Peers) -> None:
    """Megabytes that wait in the proxy's kernel are delivered before the RST."""
    client, server = peers.pair()
    body = frame(3, 1, bytes(6 * 1024 * 1024))
    cut = peers.proxy.cut("basic.ack", when="before", how="reset")
    sender = threading.Thread(target=server.sendall, args=(body + ack(1),))
    sender.start()
    assert receive(client, len(body)) == body
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert cut.wait(TIMEOUT)
    sender.join(TIMEOUT)


def test_a_reader_that_never_reads_does_not_hold_up_a_reset(peers: Peers) -> None:
    """The proxy waits a second for what is undelivered, and then cuts."""
    client, server = peers.pair()
    cut = peers.proxy.cut("basic.ack", when="before", how="reset")
    server.sendall(frame(3, 1, bytes(1024 * 1024)) + ack(1))
    assert cut.wait(TIMEOUT)
    with pytest.raises(ConnectionResetError):
        receive(client, 2 * 1024 * 1024)


@pytest.mark.parametrize(("when", "arrives"), [("before", b""), ("after", PUBLISH)])
def test_close_at_a_frame_is_an_orderly_end(peers: Peers, when: str, arrives: bytes) -> None:
    """FIN at both ends, no RST, and nothing behind the cut."""
    client, server = peers.pair()
    cut = peers.proxy.cut("basic.publish", direction="to_broker", when=when, how="close")  # type: ignore[arg-type]
    client.sendall(MESSAGE)
    assert cut.wait(TIMEOUT)
    assert receive(server, 1000) == arrives
    assert client.recv(1) == b""
    client.close()
    server.close()
    peers.proxy.wait_for_connections(0, TIMEOUT)


def test_a_black_hole_at_a_frame_is_for_that_connection_only(peers: Peers) -> None:
    """The cut connection is silent both ways for good; its neighbour lives."""
    neighbour, neighbours_server = peers.pair()
    client, server = peers.pair()
    cut = peers.proxy.cut("basic.ack", when="after", how="blackhole")
    server.sendall(ack(1) + ack(2))
    assert receive(client, len(ack(1))) == ack(1)
    assert cut.wait(TIMEOUT)
    client.sendall(MESSAGE)
    assert is_silent(client)
    assert is_silent(server)
    neighbours_server.sendall(ack(1))
    assert receive(neighbour, len(ack(1))) == ack(1)


def test_drop_swallows_one_frame(peers: Peers) -> None:
    """Only the nth frame of the kind is missing; the connection goes on."""
    client, server = peers.pair()
    cut = peers.proxy.cut("basic.ack", nth=2, how="drop")
    server.sendall(ack(1) + ack(2) + HEARTBEAT + ack(3))
    expected = ack(1) + HEARTBEAT + ack(3)
    assert receive(client, len(expected)) == expected
    assert cut.wait(TIMEOUT)
    assert peers.proxy.frames("basic.ack", swallowed=True) == 1
    client.sendall(HEARTBEAT)
    assert receive(server, len(HEARTBEAT)) == HEARTBEAT


def test_silence_swallows_one_channel_from_then_on(peers: Peers) -> None:
    """Its frames in that direction only; other channels and the other direction go on."""
    client, server = peers.pair()
    cut = peers.proxy.cut("basic.ack", nth=2, how="silence")
    server.sendall(ack(1) + ack(2) + ack(3) + HEARTBEAT)
    expected = ack(1) + HEARTBEAT
    assert receive(client, len(expected)) == expected
    assert cut.wait(TIMEOUT)
    assert peers.proxy.frames("basic.ack", swallowed=True) == 2
    client.sendall(ack(4))
    assert receive(server, len(ack(4))) == ack(4)


def test_a_cut_waits_for_its_frame(peers: Peers) -> None:
    """Other kinds, and the same kind in the other direction, do not fire it."""
    client, server = peers.pair()
    cut = peers.proxy.cut("heartbeat", direction="from_broker")
    client.sendall(HEARTBEAT)
    server.sendall(ack(1))
    assert receive(server, len(HEARTBEAT)) == HEARTBEAT
    assert receive(client, len(ack(1))) == ack(1)
    assert not cut.wait(QUIET)


def test_a_cut_counts_over_connections(peers: Peers) -> None:
    """The second protocol header is the second connection's."""
    cut = peers.proxy.cut("protocol-header", nth=2, direction="to_broker")
    first, first_server = peers.pair()
    first.sendall(HEADER)
    assert receive(first_server, 8) == HEADER
    second, _ = peers.pair()
    second.sendall(HEADER)
    with pytest.raises(ConnectionResetError):
        second.recv(1)
    assert cut.wait(TIMEOUT)


def test_healing_disarms_a_cut(peers: Peers) -> None:
    """What has not fired never will."""
    client, server = peers.pair()
    cut = peers.proxy.cut("basic.ack")
    peers.proxy.heal()
    server.sendall(ack(1))
    assert receive(client, len(ack(1))) == ack(1)
    assert not cut.fired


@pytest.mark.parametrize("how", ["reset", "blackhole"])
@pytest.mark.parametrize("direction", ["to_broker", "from_broker"])
def test_a_cut_in_sliced_traffic(peers: Peers, how: How, direction: Direction) -> None:
    """Slices and cuts work together: all before the frame arrives, byte for byte."""
    client, server = peers.pair()
    source, target = (client, server) if direction == "to_broker" else (server, client)
    peers.proxy.slice(3, 0.0)
    cut = peers.proxy.cut("basic.ack", nth=2, direction=direction, how=how)
    source.sendall(HEARTBEAT + ack(1) + ack(2) + HEARTBEAT)
    expected = HEARTBEAT + ack(1)
    assert receive(target, len(expected)) == expected
    assert cut.wait(TIMEOUT)
    assert peers.proxy.frames("basic.ack") == 1


def test_reset_in_the_middle_of_a_frame(peers: Peers) -> None:
    """Half a frame arrives, then RST; the half frame does not count as passed."""
    client, server = peers.pair()
    fault = peers.proxy.reset_after(len(ack(1)) + 5, "from_broker")
    server.sendall(ack(1) + ack(2))
    assert receive(client, len(ack(1)) + 5) == ack(1) + ack(2)[:5]
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert fault.wait(TIMEOUT)
    assert peers.proxy.frames("basic.ack") == 1


def test_a_handshake_that_stops_after_n_frames(peers: Peers) -> None:
    """New connections get that many frames and then silence; old ones, and new ones after healing, get all."""
    old_client, old_server = peers.pair()
    peers.proxy.wait_for_connections(1, TIMEOUT)
    peers.proxy.answer_frames(2)
    for _ in range(2):
        client, server = peers.pair()
        client.sendall(HEADER)
        assert receive(server, 8) == HEADER
        server.sendall(START + TUNE + OPEN_OK)
        assert receive(client, len(START + TUNE)) == START + TUNE
        assert is_silent(client)
    old_server.sendall(START + TUNE + OPEN_OK)
    assert receive(old_client, len(START + TUNE + OPEN_OK)) == START + TUNE + OPEN_OK
    peers.proxy.heal()
    client, server = peers.pair()
    server.sendall(START + TUNE + OPEN_OK)
    assert receive(client, len(START + TUNE + OPEN_OK)) == START + TUNE + OPEN_OK


def test_a_handshake_that_is_never_answered(peers: Peers) -> None:
    """No frame at all: the broker is reached, and the client hears nothing."""
    peers.proxy.answer_frames(0)
    client, server = peers.pair()
    client.sendall(HEADER)
    assert receive(server, 8) == HEADER
    server.sendall(START)
    assert is_silent(client)
