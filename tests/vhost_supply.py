"""Vhosts made ahead. To make one and to delete it takes a broker some 80 ms, and as much again to ask it for both.

Law: each test has a vhost that no other test had. One call asks for several; the broker makes those, and deletes what tests
have done with, while tests run. The supply itself starts no thread and no process.
"""

from __future__ import annotations

import uuid

from rmqpool.testing.rabbitmq import RabbitMQNode

__all__ = ["VhostSupply", "sweep"]

_AHEAD = 8  # vhosts that one call asks for
_PATIENCE = 60.0  # seconds that a busy broker may take for them
_ACTOR = '<<"rmqpool tests">>'


class VhostSupply:
    """Vhosts of one node, which must run for as long. Not thread-safe. Every method raises `ServicesError`."""

    def __init__(self, node: RabbitMQNode) -> None:
        self._node = node
        self._ready: list[str] = []
        self._coming: list[str] = []
        self._vhosts: list[str] = []
        self._queues: list[str] = []

    def take(self) -> str:
        """A new vhost, on which the node's own user may do everything."""
        if not self._ready:
            if not self._coming:
                self._ask(1)  # a run of a single test waits for no more
            self._ask(_AHEAD)
        return self._ready.pop()

    def give_back(self, vhost: str) -> None:
        """Have it deleted, with all that is in it."""
        self._vhosts.append(vhost)

    def forget(self, queue: str) -> None:
        """Have the queues of the default vhost deleted whose names begin like that."""
        self._queues.append(queue)

    def _ask(self, count: int) -> None:
        """Wait for the vhosts of the last call, have the next ones made, and delete what was given back."""
        names = [f"test-{uuid.uuid4().hex[:12]}" for _ in range(count)]
        self._node.command(
            "case whereis(rmqpool_tests_vhosts) of undefined -> ok; Busy -> Watch = monitor(process, Busy),"
            f" receive {{'DOWN', Watch, _, _, _}} -> ok after {int(_PATIENCE * 1000)} -> exit(vhosts_take_too_long) end end,"
            f" case [V || V <- {_binaries(self._coming)}, not rabbit_vhost:exists(V)] of"
            " [_ | _] = Missing -> {error, {not_made, Missing}};"
            " [] -> Maker = spawn(fun() -> receive go -> ok end,"
            f" [begin rabbit_vhost:add(V, {_ACTOR}), rabbit_auth_backend_internal:set_permissions("
            f'{_binary(self._node.user)}, V, <<".*">>, <<".*">>, <<".*">>, {_ACTOR}) end || V <- {_binaries(names)}],'
            f" [catch rabbit_vhost:delete(V, {_ACTOR}) || V <- {_binaries(self._vhosts)}],"
            f" Begin = fun(Name) -> lists:any(fun(B) -> string:prefix(Name, B) =/= nomatch end, {_binaries(self._queues)}) end,"
            f" [catch rabbit_amqqueue:delete(Q, false, false, {_ACTOR})"
            ' || Q <- rabbit_amqqueue:list(<<"/">>), Begin(element(4, amqqueue:get_name(Q)))]'
            " end), register(rmqpool_tests_vhosts, Maker), Maker ! go end",
            timeout=_PATIENCE + 10,
        )
        self._ready, self._coming = self._coming, names
        self._vhosts, self._queues = [], []


def sweep(node: RabbitMQNode) -> None:
    """Delete the queues and the vhosts that tests have left on a node of which no test runs: idle quorum queues cost time.

    What cannot be deleted within five seconds (a quorum queue without a leader, after the node was killed) stays.
    """
    node.query(
        f"Delete = fun(Q) -> catch rabbit_amqqueue:delete(Q, false, false, {_ACTOR}) end,"
        ' Left = [spawn_monitor(fun() -> Delete(Q) end) || Q <- rabbit_amqqueue:list(<<"/">>)]'
        f" ++ [spawn_monitor(fun() -> catch rabbit_vhost:delete(V, {_ACTOR}) end)"
        ' || V <- rabbit_vhost:list_names(), V =/= <<"/">>],'
        " timer:send_after(5000, enough),"
        " Wait = fun(_, []) -> 0; (Again, [{_, Watch} | Rest]) ->"
        " receive {'DOWN', Watch, _, _, _} -> Again(Again, Rest); enough -> length(Rest) + 1 end end, Wait(Wait, Left)",
        timeout=_PATIENCE,
    )


def _binaries(texts: list[str]) -> str:
    return f"[{', '.join(map(_binary, texts))}]"


def _binary(text: str) -> str:
    return f"<<{','.join(map(str, text.encode()))}>>"
