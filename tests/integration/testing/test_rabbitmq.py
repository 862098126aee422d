"""A private RabbitMQ node does what a test tells it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.rabbitmq import LocalRabbitMQ, RabbitMQNode
from rmqpool.testing.waiting import wait_until

PERSISTENT = pika.BasicProperties(delivery_mode=2)


@contextmanager
def connected(url: str, name: str = "") -> Iterator[pika.BlockingConnection]:
    """A connection that is closed at the end, when the test has left it open."""
    parameters = pika.URLParameters(url)
    parameters.client_properties = {"connection_name": name}
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def declare_quorum_queue(connection: pika.BlockingConnection, name: str) -> BlockingChannel:
    """A channel with confirms, and a durable quorum queue."""
    channel = connection.channel()
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()
    return channel


def process_until(connection: pika.BlockingConnection, condition: Callable[[], object], what: str) -> None:
    """Lets pika read until the condition holds."""

    def processed() -> bool:
        connection.process_data_events(0.02)
        return bool(condition())

    wait_until(processed, what, timeout=5, interval=0)


def test_a_started_node_takes_connections(broker: RabbitMQNode) -> None:
    """A started node takes connections and tells its version."""
    assert broker.is_running
    assert broker.version() >= (3, 10)
    with connected(broker.amqp_url()) as connection:
        assert connection.is_open


def test_guest_is_off(broker: RabbitMQNode) -> None:
    """Only the node's own random password opens it."""
    url = broker.amqp_url(user="guest", password="guest")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError), connected(url):
        pass


def test_only_loopback_is_listened_on(broker: RabbitMQNode) -> None:
    """AMQP and Erlang's distribution listen on 127.0.0.1 and nowhere else."""
    addresses = broker.eval(
        '[inet:sockname(P) || P <- erlang:ports(), {name, "tcp_inet"} <- [erlang:port_info(P, name)]]'
    )
    assert "{127,0,0,1}" in addresses
    assert "{0,0,0,0}" not in addresses


def test_no_second_erlang_runs_beside_a_node(broker: RabbitMQNode) -> None:
    """RabbitMQ would run one each minute to look for an epmd; the node is registered with ours all the same."""
    watching = "[Pid || {rabbit_epmd_monitor_sup, Pid, _, _} <- supervisor:which_children(rabbit_sup)]"
    assert broker.eval(watching) == "[undefined]"
    names = broker.query("[list_to_binary(Name) || {Name, _} <- element(2, erl_epmd:names({127,0,0,1}))]")
    assert broker.eval("node()").strip("'").partition("@")[0] in names


def test_a_vhost_is_the_tests_own(broker: RabbitMQNode, vhost: str, queue_name: str) -> None:
    """What is declared in a test's vhost is not in another one."""
    with connected(broker.amqp_url(vhost=vhost)) as connection:
        connection.channel().queue_declare(queue_name, durable=True, arguments={"x-max-length": 7})
    (queue,) = broker.list_queues(vhost)
    assert (queue["name"], queue["type"], queue["arguments"]) == (queue_name, "classic", {"x-max-length": 7})
    assert queue_name not in [queue["name"] for queue in broker.list_queues("/")]


def test_queue_deleted(broker: RabbitMQNode, vhost: str, queue_name: str) -> None:
    """A queue is deleted under its consumer, which is told so."""
    with connected(broker.amqp_url(vhost=vhost)) as connection:
        channel = connection.channel()
        channel.queue_declare(queue_name)
        cancelled: list[object] = []
        channel.add_on_cancel_callback(cancelled.append)
        channel.basic_consume(queue_name, lambda *_: None)
        broker.delete_queue(queue_name, vhost)
        process_until(connection, lambda: cancelled, "basic.cancel")
    assert broker.list_queues(vhost) == []


def test_users_come_and_go(broker: RabbitMQNode, vhost: str) -> None:
    """A user connects with its password, and no more after the password was changed or the user deleted."""
    broker.add_user(vhost, "first", vhosts=(vhost,))
    old, new = (broker.amqp_url(user=vhost, password=password, vhost=vhost) for password in ("first", "second"))
    with connected(old):
        pass
    broker.change_password(vhost, "second")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError), connected(old):
        pass
    with connected(new):
        pass
    broker.delete_user(vhost)
    with pytest.raises(pika.exceptions.ProbableAuthenticationError), connected(new):
        pass


def test_permissions_are_revoked(broker: RabbitMQNode, vhost: str, queue_name: str) -> None:
    """A user may do what its permissions say, and not enter the vhost without any."""
    broker.add_user(vhost, "password", vhosts=(vhost,), permissions=("^$", ".*", ".*"))
    url = broker.amqp_url(user=vhost, password="password", vhost=vhost)
    with connected(url) as connection, pytest.raises(pika.exceptions.ChannelClosedByBroker, match="403"):
        connection.channel().queue_declare(queue_name)
    broker.clear_permissions(vhost, vhost)
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError), connected(url):
        pass
    broker.delete_user(vhost)


def test_refused_commands_say_why(broker: RabbitMQNode) -> None:
    """What the broker refuses is an error with its reason."""
    with pytest.raises(ServicesError, match="no_such_user"):
        broker.delete_user("nobody")
    with pytest.raises(ServicesError, match="not_found"):
        broker.delete_queue("nothing")
    with pytest.raises(ServicesError, match="no connection named"):
        broker.close_connection("nobody's")


def test_connections_are_listed_and_closed_by_name(broker: RabbitMQNode, vhost: str) -> None:
    """A connection is found by its client's name, with its channels, and closed alone."""
    url = broker.amqp_url(vhost=vhost)
    with connected(url, name=f"{vhost}-a") as one, connected(url, name=f"{vhost}-b") as other:
        one.channel().confirm_delivery()
        listed = {row["user_provided_name"]: row for row in broker.list_connections() if row["vhost"] == vhost}
        assert listed.keys() == {f"{vhost}-a", f"{vhost}-b"}
        assert [row["confirm"] for row in broker.list_channels() if row["vhost"] == vhost] == [True]
        broker.close_connection(f"{vhost}-a", "named by a test")
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="named by a test"):
            process_until(one, lambda: False, "the connection to be closed")
        assert other.channel().is_open


def test_rabbitmqctl_reaches_the_node(broker: RabbitMQNode, vhost: str) -> None:
    """rabbitmqctl itself works too."""
    assert vhost in broker.ctl("list_vhosts")


@pytest.mark.parametrize("source", ["memory", "disk"])
def test_alarms_are_raised_and_cleared(private_broker: RabbitMQNode, source: str) -> None:
    """An alarm blocks a connection that publishes, and clearing it unblocks the connection."""
    seen: list[str] = []
    with connected(private_broker.amqp_url()) as connection:
        connection.add_on_connection_blocked_callback(lambda *_: seen.append("blocked"))
        connection.add_on_connection_unblocked_callback(lambda *_: seen.append("unblocked"))
        getattr(private_broker, f"raise_{source}_alarm")()
        connection.channel().basic_publish("", "nowhere", b"")
        process_until(connection, lambda: seen == ["blocked"], "connection.blocked")
        getattr(private_broker, f"clear_{source}_alarm")()
        process_until(connection, lambda: seen == ["blocked", "unblocked"], "connection.unblocked")


def test_a_paused_node_answers_nothing_and_then_goes_on(private_broker: RabbitMQNode, queue_name: str) -> None:
    """A paused node keeps its connections and does not answer; resumed, it answers."""
    with connected(private_broker.amqp_url()) as connection:
        channel = connection.channel()
        channel.queue_declare(queue_name)
        answered: list[object] = []
        channel.basic_consume(queue_name, lambda *arguments: answered.append(arguments), auto_ack=True)
        private_broker.pause()
        assert private_broker.is_running
        channel.basic_publish("", queue_name, b"while paused")
        with pytest.raises(ServicesError, match="in vain"):
            wait_until(lambda: connection.process_data_events(0.02) or answered, "an answer", timeout=0.5, interval=0)
        private_broker.resume()
        process_until(connection, lambda: answered, "the delivery")
        channel.queue_delete(queue_name)


def test_a_killed_node_keeps_what_it_confirmed(private_broker: RabbitMQNode, queue_name: str) -> None:
    """A persistent message that was confirmed is there after SIGKILL and a new start; the port stays the same."""
    port = private_broker.port
    with connected(private_broker.amqp_url()) as connection:
        channel = declare_quorum_queue(connection, queue_name)
        private_broker.sync_queues()
        channel.basic_publish("", queue_name, b"kept", PERSISTENT)
        private_broker.kill()
        assert not private_broker.is_running
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            process_until(connection, lambda: False, "the end of the connection")
    private_broker.kill()
    private_broker.start()
    private_broker.start()
    assert private_broker.port == port
    with connected(private_broker.amqp_url()) as connection:
        assert connection.channel().basic_get(queue_name, auto_ack=True)[2] == b"kept"


def test_a_restarted_node_comes_back(private_broker: RabbitMQNode) -> None:
    """A graceful restart ends connections with a reason, and the node takes new ones."""
    with connected(private_broker.amqp_url()) as connection:
        private_broker.restart()
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="320"):
            process_until(connection, lambda: False, "the end of the connection")
    with connected(private_broker.amqp_url()) as connection:
        assert connection.is_open


def test_a_healed_node_is_as_new(private_broker: RabbitMQNode) -> None:
    """A node that was blocked, stopped inside and paused is usable again after `heal`."""
    private_broker.raise_memory_alarm()
    private_broker.stop_app()
    private_broker.pause()
    private_broker.heal()
    with connected(private_broker.amqp_url()) as connection:
        assert connection.channel().is_open
    assert private_broker.eval("rabbit_alarm:get_alarms()") == "[]"


def test_a_stopped_node_says_so() -> None:
    """A node that does not run, or is closed, refuses commands with a sentence."""
    node = LocalRabbitMQ()
    with pytest.raises(ServicesError, match=r"call start\(\) first"):
        node.version()
    node.stop()
    node.close()
    node.close()
    assert not node.folder.exists()
    with pytest.raises(ServicesError, match="is closed"):
        node.start()


def test_a_wrong_configuration_is_told() -> None:
    """A node that ends while it starts gives an error with what it wrote."""
    node = LocalRabbitMQ({"no_such_setting": "1"})
    try:
        with pytest.raises(ServicesError, match="no_such_setting"):
            node.start()
    finally:
        node.close()


def test_two_nodes_have_nothing_in_common_and_may_cluster(
    broker_factory: Callable[..., RabbitMQNode], private_broker: RabbitMQNode
) -> None:
    """Two nodes side by side have their own ports, users and vhosts; joined, they are one cluster."""
    other = broker_factory({"consumer_timeout": "7000"})
    assert other.port != private_broker.port
    assert other.query("element(2, application:get_env(rabbit, consumer_timeout))") == 7000
    private_broker.add_vhost("only-here")
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError), connected(other.amqp_url(vhost="only-here")):
        pass
    third = broker_factory()
    third.join_cluster(other)
    assert third.query("length(rabbit_nodes:all_running())") == 2
    other.add_vhost("shared")
    assert "shared" in third.query("rabbit_vhost:list_names()")
