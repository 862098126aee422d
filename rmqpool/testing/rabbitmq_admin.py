"""What a test may ask of a running RabbitMQ node.

Law: everything here is one Erlang expression that the node evaluates, in milliseconds: rabbitmqctl would start an
Erlang of its own each time. The functions called are those that rabbitmqctl calls; RabbitMQ 3.10 and 4 have them.
"""

from __future__ import annotations

import base64
import json
import re
from abc import ABC, abstractmethod
from typing import Any

from rmqpool.testing.errors import ServicesError

__all__ = ["RabbitMQAdmin"]

_ACTOR = '<<"rmqpool tests">>'
_MEMORY_LIMIT = 0.6  # of the machine's memory
_DISK_LIMIT = 1_000_000  # bytes
_CHUNK = 30_000  # Erlang prints longer strings as lists of numbers


class RabbitMQAdmin(ABC):
    """The broker's administration. Thread-safe. Every method raises `ServicesError` with the broker's reason."""

    user: str

    @abstractmethod
    def evaluate_raw(self, expression: str, timeout: float) -> str:
        """Has the node evaluate an Erlang expression and returns the result as Erlang prints it."""

    def query(self, expression: str, timeout: float = 10) -> Any:
        """The value of an Erlang expression that `rabbit_json` can encode, as Python values.

        Raises `ServicesError` when the expression fails, or when its value is `{error, Reason}`.
        """
        wrapped = (
            f'Answer = try case begin {expression} end of {{error, Reason}} -> [{{<<"error">>, {_printed("Reason")}}}];'
            ' Value -> [{<<"value">>, Value}] end'
            f' catch Class:Fault -> [{{<<"error">>, {_printed("{Class, Fault}")}}}] end,'
            " Text = base64:encode(rabbit_json:encode(maps:from_list(Answer))), Size = byte_size(Text),"
            f" [binary_to_list(binary:part(Text, At, min({_CHUNK}, Size - At)))"
            f" || At <- lists:seq(0, Size - 1, {_CHUNK})]."
        )
        text = self.evaluate_raw(wrapped, timeout)
        answer = json.loads(base64.b64decode("".join(re.findall(r'"([A-Za-z0-9+/=]*)"', text))) or "{}")
        if "value" not in answer:
            raise ServicesError(f"{self!r}: {expression[:200]} failed: {answer.get('error', text)}")
        return answer["value"]

    def command(self, expression: str, timeout: float = 10) -> None:
        """Evaluates an Erlang expression for its effect; fails as `query` does."""
        self.query(f"case begin {expression} end of {{error, _}} = Refused -> Refused; _ -> ok end", timeout)

    def eval(self, expression: str, timeout: float = 10) -> str:
        """The value of an Erlang expression as Erlang would print it."""
        return str(self.query(f"(fun(Printed) -> {_printed('Printed')} end)(begin {expression} end)", timeout))

    def version(self) -> tuple[int, ...]:
        """The version of RabbitMQ: (3, 10, 8)."""
        text = self.query("list_to_binary(rabbit_misc:version())")
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    def list_queues(self, vhost: str = "/") -> list[dict[str, Any]]:
        """The queues of a vhost: name, type, durable, consumers, arguments, messages (and _ready, _unacknowledged)."""
        items = "name, type, durable, messages, messages_ready, messages_unacknowledged, consumers, arguments"
        rows: list[dict[str, Any]] = self.query(
            "[maps:map(fun(name, R) -> element(4, R); (arguments, T) -> rabbit_misc:amqp_table(T); (_, V) -> V end,"
            f" maps:from_list(I)) || I <- rabbit_amqqueue:info_all({_binary(vhost)}, [{items}])]"
        )
        return rows

    def list_connections(self) -> list[dict[str, Any]]:
        """The AMQP connections: name, user, vhost, state, channels, client_properties, user_provided_name."""
        items = "name, user, vhost, state, channels, client_properties, peer_port"
        rows: list[dict[str, Any]] = self.query(
            "[maps:map(fun(client_properties, T) when is_list(T) -> rabbit_misc:amqp_table(T);"
            ' (client_properties, _) -> [{<<"opening">>, true}]; (_, V) -> V end, maps:from_list(I))'
            f" || I <- rabbit_networking:connection_info_all([{items}])]"
        )
        for row in rows:
            row["user_provided_name"] = row["client_properties"].get("connection_name")
        return rows

    def list_channels(self) -> list[dict[str, Any]]:
        """The open channels: number, user, vhost, confirm, consumer_count, messages_unacknowledged..."""
        items = (
            "number, user, vhost, confirm, transactional, consumer_count, messages_unacknowledged,"
            " messages_unconfirmed, messages_uncommitted, prefetch_count"
        )
        rows: list[dict[str, Any]] = self.query(f"[maps:from_list(I) || I <- rabbit_channel:info_all([{items}])]")
        return rows

    def close_all_connections(self, reason: str = "closed by a test") -> None:
        """Has the broker close every AMQP connection (320, CONNECTION_FORCED)."""
        self.command(f'rabbit_networking:close_all_connections("{_escape(reason)}")')

    def close_connection(self, name: str, reason: str = "closed by a test") -> None:
        """Closes the connections with this name: the broker's ("host:port -> host:port") or the client's own."""
        found = self.query(
            f'Name = {_binary(name)}, length([rabbit_networking:close_connection(P, "{_escape(reason)}")'
            " || [{pid, P}, {name, N}, {client_properties, T}]"
            " <- rabbit_networking:connection_info_all([pid, name, client_properties]),"
            " N =:= Name orelse (is_list(T)"  # it is none yet during the handshake
            ' andalso rabbit_misc:table_lookup(T, <<"connection_name">>) =:= {longstr, Name})])'
        )
        if not found:
            raise ServicesError(f"{self!r} has no connection named {name!r}.")

    def raise_memory_alarm(self) -> None:
        """Blocks publishing connections: the memory limit becomes next to nothing."""
        self.command("vm_memory_monitor:set_vm_memory_high_watermark(0.0000001)")
        self._wait_for_alarm("memory", raised=True)

    def clear_memory_alarm(self) -> None:
        """Puts the memory limit back; nothing happens without an alarm."""
        self.command(f"vm_memory_monitor:set_vm_memory_high_watermark({_MEMORY_LIMIT})")
        self._wait_for_alarm("memory", raised=False)

    def raise_disk_alarm(self) -> None:
        """Blocks publishing connections: the disk limit becomes larger than any disk."""
        self.command("rabbit_disk_monitor:set_disk_free_limit(1000000000000000)")
        self._wait_for_alarm("disk", raised=True)

    def clear_disk_alarm(self) -> None:
        """Puts the disk limit back; nothing happens without an alarm."""
        self.command(f"rabbit_disk_monitor:set_disk_free_limit({_DISK_LIMIT})")
        self._wait_for_alarm("disk", raised=False)

    def clear_alarms(self) -> None:
        """Puts both limits back, at once; nothing happens without alarms."""
        self.command(
            f"vm_memory_monitor:set_vm_memory_high_watermark({_MEMORY_LIMIT}),"
            f" rabbit_disk_monitor:set_disk_free_limit({_DISK_LIMIT}), {_awaited('[S || S <- [memory, disk], Alarm(S)] =:= []')}"
        )

    def _wait_for_alarm(self, source: str, *, raised: bool) -> None:
        self.command(_awaited(f"Alarm({source}) =:= {str(raised).lower()}"))

    def add_vhost(self, name: str) -> None:
        """Adds a vhost on which the node's own user may do everything."""
        permissions = ", ".join(map(_binary, (self.user, name, ".*", ".*", ".*")))
        self.command(
            f"case rabbit_vhost:add({_binary(name)}, {_ACTOR}) of {{error, _}} = Failed -> Failed;"
            f" _ -> rabbit_auth_backend_internal:set_permissions({permissions}, {_ACTOR}) end"
        )

    def delete_vhost(self, name: str) -> None:
        """Deletes a vhost with all that is in it; its connections are closed."""
        self.command(f"rabbit_vhost:delete({_binary(name)}, {_ACTOR})")

    def add_user(
        self,
        name: str,
        password: str,
        *,
        vhosts: tuple[str, ...] = ("/",),
        permissions: tuple[str, str, str] = (".*", ".*", ".*"),
    ) -> None:
        """Adds a user with (configure, write, read) permissions on the vhosts."""
        self.command(f"rabbit_auth_backend_internal:add_user({_binary(name)}, {_binary(password)}, {_ACTOR})")
        for vhost in vhosts:
            self.set_permissions(name, vhost, permissions)

    def delete_user(self, name: str) -> None:
        """Deletes a user; its connections stay."""
        self.command(f"rabbit_auth_backend_internal:delete_user({_binary(name)}, {_ACTOR})")

    def change_password(self, name: str, password: str) -> None:
        """Changes a user's password; its connections stay."""
        self.command(f"rabbit_auth_backend_internal:change_password({_binary(name)}, {_binary(password)}, {_ACTOR})")

    def set_permissions(
        self, name: str, vhost: str = "/", permissions: tuple[str, str, str] = (".*", ".*", ".*")
    ) -> None:
        """Sets a user's (configure, write, read) permissions on a vhost: regular expressions over names."""
        arguments = ", ".join(map(_binary, (name, vhost, *permissions)))
        self.command(f"rabbit_auth_backend_internal:set_permissions({arguments}, {_ACTOR})")

    def clear_permissions(self, name: str, vhost: str = "/") -> None:
        """Takes a user's access to a vhost away."""
        self.command(f"rabbit_auth_backend_internal:clear_permissions({_binary(name)}, {_binary(vhost)}, {_ACTOR})")

    def sync_queues(self) -> None:
        """Has the node write down which quorum queues it has.

        RabbitMQ 3.10 does so half a second late: killed in between, it comes back with a quorum queue that has no
        leader and has lost its confirmed messages. To be called between declaring quorum queues and `kill`.
        """
        self.command("dets:sync(ra_directory_reverse)")

    def delete_queue(self, name: str, vhost: str = "/") -> None:
        """Deletes a queue under its consumers."""
        self.command(
            f"case rabbit_amqqueue:lookup(rabbit_misc:r({_binary(vhost)}, queue, {_binary(name)})) of"
            f" {{ok, Queue}} -> rabbit_amqqueue:delete(Queue, false, false, {_ACTOR}); Failure -> Failure end"
        )


def _awaited(condition: str) -> str:
    """An expression that waits until a condition over `Alarm(Source)` holds, at most five seconds."""
    return (
        "Alarm = fun(Source) -> lists:member(Source, [S || {{resource_limit, S, _}, _} <- rabbit_alarm:get_alarms()]) end,"
        " Wait = fun(_, 0) -> {error, alarm_unchanged}; (Again, Left) ->"
        f" case {condition} of true -> ok; _ -> timer:sleep(10), Again(Again, Left - 1) end end, Wait(Wait, 500)"
    )


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _binary(text: str) -> str:
    return f"<<{','.join(map(str, text.encode()))}>>"


def _printed(variable: str) -> str:
    return f'unicode:characters_to_binary(io_lib:format("~tp", [{variable}]))'
