"""Black holes and stalls: bytes that are swallowed, and bytes that are held back."""

from __future__ import annotations

import select
import socket

import pytest

from tests.integration.testing.conftest import Peers
from tests.integration.testing.sockets import QUIET, TIMEOUT, is_silent, receive


def test_a_black_hole_swallows_and_keeps_connections_open(peers: Peers) -> None:
    """Half-open: both ends are connected, sending works, nothing arrives."""
    client, server = peers.pair()
    peers.proxy.blackhole()
    client.sendall(b"lost")
    server.sendall(b"lost")
    assert is_silent(client)
    assert is_silent(server)
    assert peers.proxy.connections == 1


def test_a_black_hole_swallows_more_than_the_buffers_hold(peers: Peers) -> None:
    """Bytes go away, they do not pile up: a sender is never blocked by the hole."""
    client, _ = peers.pair()
    peers.proxy.blackhole()
    client.sendall(bytes(32 * 1024 * 1024))
    peers.proxy.wait_for_frames("bytes", 500, TIMEOUT, "to_broker", swallowed=True)


def test_a_black_hole_swallows_the_end_of_a_connection(peers: Peers) -> None:
    """Neither FIN nor RST comes through; the proxy knows that the client is gone."""
    client, server = peers.pair()
    peers.proxy.blackhole()
    client.close()
    assert is_silent(server)
    peers.proxy.wait_for_connections(0, TIMEOUT)


def test_a_black_hole_swallows_the_end_of_a_connection_that_is_only_just_there(peers: Peers) -> None:
    """The hole may open while the proxy still notes that the upstream has accepted."""
    servers = []
    for _ in range(50):
        client, server = peers.pair()
        peers.proxy.blackhole()
        client.close()
        servers.append(server)
        peers.proxy.heal()
    assert not select.select(servers, [], [], QUIET)[0]


def test_a_black_hole_of_one_direction(peers: Peers) -> None:
    """The broker hears the client, the client does not hear the broker: also on new connections."""
    old = peers.pair()
    peers.proxy.blackhole(direction="from_broker")
    for client, server in (old, peers.pair()):
        client.sendall(b"heard")
        assert receive(server, 5) == b"heard"
        server.sendall(b"lost")
        assert is_silent(client)


def test_new_connections_into_a_black_hole_are_accepted_and_never_answered(
    peers: Peers, listener: socket.socket
) -> None:
    """A handshake meets silence: the proxy accepts, swallows, and does not dial the upstream."""
    peers.proxy.blackhole()
    client = peers.client()
    client.sendall(b"AMQP\x00\x00\x09\x01")
    peers.proxy.wait_for_frames("protocol-header", 1, TIMEOUT, swallowed=True)
    assert is_silent(client)
    assert is_silent(listener)
    client.close()
    peers.proxy.wait_for_connections(0, TIMEOUT)


def test_after_healing_new_connections_live_and_swallowed_ones_stay_dead(peers: Peers) -> None:
    """What lost bytes cannot go on; what comes later can."""
    dead_client, dead_server = peers.pair()
    peers.proxy.blackhole()
    peers.proxy.wait_for_connections(1, TIMEOUT)
    peers.proxy.heal()
    dead_client.sendall(b"lost")
    assert is_silent(dead_server)
    client, server = peers.pair()
    client.sendall(b"alive")
    assert receive(server, 5) == b"alive"


def test_stalled_bytes_arrive_after_healing(peers: Peers) -> None:
    """Held back is not lost: everything arrives, in order, and the connection goes on."""
    client, server = peers.pair()
    peers.proxy.stall()
    client.sendall(b"one ")
    client.sendall(b"two")
    server.sendall(b"back")
    assert is_silent(server)
    assert is_silent(client)
    peers.proxy.heal()
    assert receive(server, 7) == b"one two"
    assert receive(client, 4) == b"back"


def test_a_stall_of_one_direction(peers: Peers) -> None:
    """The other direction flows."""
    client, server = peers.pair()
    peers.proxy.stall("from_broker")
    server.sendall(b"held")
    client.sendall(b"through")
    assert receive(server, 7) == b"through"
    assert is_silent(client)
    peers.proxy.heal()
    assert receive(client, 4) == b"held"


def test_a_stalled_sender_is_held_back_in_the_end(peers: Peers) -> None:
    """The proxy keeps a few megabytes, not all that a sender can produce."""
    client, _ = peers.pair()
    peers.proxy.stall()
    client.settimeout(1.0)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(128 * 1024 * 1024))


def test_a_stalled_end_of_stream_comes_after_the_bytes(peers: Peers) -> None:
    """FIN is held back like bytes."""
    client, server = peers.pair()
    peers.proxy.stall()
    client.sendall(b"last")
    client.close()
    assert is_silent(server)
    peers.proxy.heal()
    assert receive(server, 100) == b"last"


def test_what_was_stalled_may_fall_into_a_black_hole(peers: Peers) -> None:
    """A black hole on top of a stall swallows what was held back."""
    client, server = peers.pair()
    peers.proxy.stall()
    client.sendall(b"held")
    assert is_silent(server)
    peers.proxy.blackhole()
    peers.proxy.wait_for_frames("bytes", 1, TIMEOUT, swallowed=True)
    peers.proxy.heal()
    assert is_silent(server)
