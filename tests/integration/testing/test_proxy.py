"""Promises of the proxy about TCP: each fault is seen by both peers as the network would show it."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from rmqpool.testing import proxy_server
from rmqpool.testing.proxy import FaultProxy
from tests.integration.testing.conftest import Peers
from tests.integration.testing.sockets import TIMEOUT, assert_reset, receive

# -- without a fault


def test_bytes_pass_unchanged_in_both_directions(peers: Peers) -> None:
    """Without a fault the proxy is a wire."""
    client, server = peers.pair()
    client.sendall(b"question")
    assert receive(server, 8) == b"question"
    server.sendall(b"answer")
    assert receive(client, 6) == b"answer"


def test_four_megabytes_pass_unchanged(peers: Peers) -> None:
    """More than every buffer on the way: back-pressure loses nothing."""
    client, server = peers.pair()
    data = os.urandom(4 * 1024 * 1024)
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    assert receive(server, len(data)) == data
    sender.join(TIMEOUT)


def test_an_orderly_close_passes_each_way(peers: Peers) -> None:
    """FIN passes after the last byte, and the other direction still works."""
    client, server = peers.pair()
    client.sendall(b"last")
    client.shutdown(socket.SHUT_WR)
    assert receive(server, 100) == b"last"
    server.sendall(b"answer")
    server.close()
    assert receive(client, 100) == b"answer"
    peers.proxy.wait_for_connections(0, TIMEOUT)


def test_a_peers_own_reset_passes(peers: Peers) -> None:
    """RST from one end arrives as RST at the other."""
    client, server = peers.pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert_reset(server)


def test_connections_are_counted(peers: Peers) -> None:
    """Open now, and accepted in all."""
    peers.pair()
    client, _ = peers.pair()
    peers.proxy.wait_for_connections(2, TIMEOUT)
    client.close()
    with pytest.raises(TimeoutError, match="connections open, not 7"):
        peers.proxy.wait_for_connections(7, 0.01)
    peers.proxy.reset()
    peers.proxy.wait_for_connections(0, TIMEOUT)
    peers.proxy.wait_for_accepted(2, TIMEOUT)
    assert (peers.proxy.connections, peers.proxy.accepted) == (0, 2)
    with pytest.raises(TimeoutError, match="2 connections accepted, not 3"):
        peers.proxy.wait_for_accepted(3, 0.01)


def test_a_dead_upstream_resets_the_client() -> None:
    """Nobody listens behind the proxy: the client is told at once, while it connects or right after."""
    with socket.socket() as deaf:  # bound, so that nobody else gets the port, and not listening
        deaf.bind(("127.0.0.1", 0))
        with (
            FaultProxy(deaf.getsockname()) as proxy,
            pytest.raises(ConnectionResetError),
            socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as client,
        ):
            client.recv(1)


# -- reset


def test_reset_reaches_both_ends_of_every_connection(peers: Peers) -> None:
    """All open connections get RST, on the client's side and on the broker's."""
    ends = [sock for _ in range(3) for sock in peers.pair()]
    peers.proxy.wait_for_connections(3, TIMEOUT)
    assert peers.proxy.reset() == 3
    for sock in ends:
        assert_reset(sock)
    assert peers.proxy.reset() == 0


def test_a_new_connection_works_after_a_reset(peers: Peers) -> None:
    """A reset is an event, not a state."""
    peers.pair()
    peers.proxy.reset()
    client, server = peers.pair()
    client.sendall(b"again")
    assert receive(server, 5) == b"again"


def test_reset_after_cuts_at_the_very_byte(peers: Peers) -> None:
    """The bytes before the limit arrive, then both ends see RST."""
    client, server = peers.pair()
    fault = peers.proxy.reset_after(3, "to_broker")
    server.sendall(b"the other direction does not count")
    assert receive(client, 34) == b"the other direction does not count"
    assert not fault.fired
    client.sendall(b"ab")
    assert receive(server, 2) == b"ab"
    assert not fault.fired
    client.sendall(b"cdefgh")
    assert receive(server, 1) == b"c"
    assert_reset(server)
    assert_reset(client)
    assert fault.wait(TIMEOUT)


def test_reset_after_goes_off_once(peers: Peers) -> None:
    """The next connection is not hurt."""
    client, _ = peers.pair()
    peers.proxy.reset_after(0, "to_broker")
    client.sendall(b"x")
    assert_reset(client)
    client, server = peers.pair()
    client.sendall(b"hello")
    assert receive(server, 5) == b"hello"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_reset_is_seen_although_a_forked_child_holds_the_sockets(peers: Peers) -> None:
    """A child that inherited the proxy keeps no connection alive: the parent's RST still leaves."""
    client, _ = peers.pair()
    peers.proxy.wait_for_connections(1, TIMEOUT)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.read(read_end, 1)  # until the parent has closed its end
        os._exit(0)
    os.close(read_end)
    try:
        peers.proxy.reset()
        assert_reset(client)
    finally:
        os.close(write_end)
        assert os.waitpid(child, 0) == (child, 0)


# -- refuse, latency, slices


def test_refused_connections_and_the_same_port_after_healing(peers: Peers) -> None:
    """Refused at once while it lasts; open connections go on; then the port is the same."""
    client, server = peers.pair()
    port = peers.proxy.port
    peers.proxy.refuse()
    peers.proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), TIMEOUT)
    client.sendall(b"still")
    assert receive(server, 5) == b"still"
    peers.proxy.heal()
    assert peers.proxy.port == port
    client, server = peers.pair()
    client.sendall(b"back")
    assert receive(server, 4) == b"back"


def test_latency_delays_each_byte_and_not_the_throughput(peers: Peers) -> None:
    """Thirty writes arrive late, but not thirty times as late."""
    client, server = peers.pair()
    peers.proxy.latency(0.2)
    started = time.monotonic()
    for _ in range(30):
        client.sendall(b"x")
    assert receive(server, 30) == b"x" * 30
    assert 0.2 <= time.monotonic() - started < 3


def test_slices_arrive_one_at_a_time(peers: Peers) -> None:
    """Tiny pieces with a pause after each: all arrive, in order, none together with the next."""
    client, server = peers.pair()
    peers.proxy.slice(1, 0.3)
    started = time.monotonic()
    client.sendall(b"abc")
    assert [server.recv(100) for _ in range(3)] == [b"a", b"b", b"c"]
    assert time.monotonic() - started >= 3 * 0.3


def test_faults_that_make_no_sense_are_refused(proxy: FaultProxy) -> None:
    """Negative times and empty slices."""
    with pytest.raises(ValueError, match="latency is -1"):
        proxy.latency(-1)
    with pytest.raises(ValueError, match="slice of 0 bytes"):
        proxy.slice(0, 0)
    with pytest.raises(ValueError, match="the delay is -1"):
        proxy.slice(1, -1)
    with pytest.raises(ValueError, match="cannot be negative"):
        proxy.answer_frames(-1)


# -- its life


def test_close_ends_the_thread_and_every_connection(peers: Peers, listener: socket.socket) -> None:
    """After close nothing of the proxy is left: no thread, no connection, no listening port."""
    with FaultProxy(listener.getsockname()) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT)
        server, _ = listener.accept()
    with client, server:
        assert f"fault-proxy-{proxy.port}" not in {thread.name for thread in threading.enumerate()}
        assert client.recv(1) == b""
        assert server.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT)


def test_close_leaves_no_file_open(listener: socket.socket) -> None:
    """Ten proxies with connections in every state leave as many file descriptors as there were."""
    before = len(os.listdir("/proc/self/fd"))
    for fault in (FaultProxy.reset, FaultProxy.blackhole, FaultProxy.stall, FaultProxy.refuse, FaultProxy.heal):
        for _ in range(2):
            with FaultProxy(listener.getsockname()) as proxy, ExitStack() as stack:
                client = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT))
                server, _ = listener.accept()
                stack.enter_context(server)
                fault(proxy)
                if fault is not FaultProxy.reset:
                    client.sendall(b"x")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_failure_of_the_proxy_itself_is_raised_at_close(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is out of file descriptors, say, does not let a test pass as if it had made its fault."""
    proxy = FaultProxy(listener.getsockname())
    with monkeypatch.context() as patch:
        patch.setattr(proxy_server, "Link", lambda client, _: client.close() or 1 / 0)
        with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as client:
            assert client.recv(1) == b""
    with pytest.raises(RuntimeError, match="do not trust the test") as caught:
        proxy.close()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_close_twice_and_use_after_close(listener: socket.socket) -> None:
    """Closing again does nothing; a fault asked of a closed proxy is an error, not silence."""
    proxy = FaultProxy(listener.getsockname())
    proxy.close()
    proxy.close()
    with pytest.raises(RuntimeError, match="closed"):
        proxy.reset()


def test_its_repr_tells_where_and_how_many(peers: Peers) -> None:
    """The addresses and the counts, for the log of a failing test."""
    peers.pair()
    peers.proxy.wait_for_connections(1, TIMEOUT)
    assert peers.proxy.url_host_port == f"127.0.0.1:{peers.proxy.port}"
    assert repr(peers.proxy).startswith(f"<FaultProxy {peers.proxy.url_host_port} -> 127.0.0.1:")
    assert repr(peers.proxy).endswith(", 1 open, 1 accepted>")


def test_many_threads_ask_for_faults_at_once(peers: Peers) -> None:
    """Faults from eight threads while bytes flow: nothing breaks, and a healed proxy works."""
    start = threading.Barrier(8)

    def trouble() -> None:
        start.wait(TIMEOUT)
        for _ in range(20):
            peers.proxy.latency(0.001)
            peers.proxy.stall()
            peers.proxy.reset()
            peers.proxy.heal()

    threads = [threading.Thread(target=trouble) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    peers.proxy.heal()
    client, server = peers.pair()
    client.sendall(b"fine")
    assert receive(server, 4) == b"fine"
