"""What a test may do to a RabbitMQ node, wherever the node comes from.

Law: what happens to the node as a process (start, kill, pause) is declared here and left to the class that owns the
process; what is asked of the running broker is `RabbitMQAdmin`'s.
"""

from __future__ import annotations

from abc import abstractmethod
from urllib.parse import quote

from rmqpool.testing.rabbitmq_admin import RabbitMQAdmin

__all__ = ["RabbitMQNode"]


class RabbitMQNode(RabbitMQAdmin):
    """A RabbitMQ node that belongs to the tests. Every method ends within a deadline or raises `ServicesError`.

    Not thread-safe, what it inherits from `RabbitMQAdmin` excepted.
    """

    host: str = "127.0.0.1"
    port: int
    tls_port: int | None = None
    management_port: int | None = None
    user: str
    password: str

    @abstractmethod
    def start(self, timeout: float = 60) -> None:
        """Starts the node and waits until it takes connections; nothing happens when it runs."""

    @abstractmethod
    def stop(self, timeout: float = 30) -> None:
        """Stops the node gracefully; nothing happens when it does not run."""

    @abstractmethod
    def kill(self) -> None:
        """Ends the node with SIGKILL; its data stay (but see `sync_queues`)."""

    @abstractmethod
    def pause(self) -> None:
        """Stops the node's processes with SIGSTOP: its sockets stay open and nothing answers."""

    @abstractmethod
    def resume(self) -> None:
        """Lets a paused node go on; nothing happens when it is not paused."""

    @abstractmethod
    def close(self) -> None:
        """Ends the node and removes all that it had; may be called twice."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether the node's process is there; true for a paused one."""

    @abstractmethod
    def wait_ready(self, timeout: float = 60) -> None:
        """Waits until the node takes AMQP connections."""

    @abstractmethod
    def ctl(self, *arguments: str, timeout: float = 30) -> str:
        """Runs rabbitmqctl (a second or two) and returns what it printed."""

    def restart(self, timeout: float = 60) -> None:
        """Stops the node gracefully and starts it again."""
        self.stop()
        self.start(timeout)

    def heal(self) -> None:
        """Undoes what tests do to nodes: resumed, running, no alarms. The queues and users stay."""
        self.resume()
        if not self.is_running:
            self.start()
        elif not self.query("rabbit:is_running()"):
            self.start_app()
        self.clear_alarms()

    def __enter__(self) -> RabbitMQNode:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"

    def amqp_url(
        self,
        *,
        user: str | None = None,
        password: str | None = None,
        vhost: str = "/",
        host: str | None = None,
        port: int | None = None,
    ) -> str:
        """The AMQP URL of the node, with any part replaced (by a proxy's port, say)."""
        who = f"{quote(user or self.user, safe='')}:{quote(password or self.password, safe='')}"
        return f"amqp://{who}@{host or self.host}:{port or self.port}/{quote(vhost, safe='')}"

    def stop_app(self) -> None:
        """Stops RabbitMQ inside the running Erlang node (rabbitmqctl stop_app)."""
        self.command("rabbit:stop()", timeout=30)

    def start_app(self) -> None:
        """Starts RabbitMQ inside the running Erlang node; nothing happens when it runs."""
        self.command("rabbit:start()", timeout=60)
        self.wait_ready()

    def join_cluster(self, other: RabbitMQNode) -> None:
        """Leaves what this node has behind and joins the cluster of `other`, a node of the same Python process."""
        self.stop_app()
        self.ctl("reset", timeout=60)
        self.ctl("join_cluster", other.eval("node()").strip("'"), timeout=60)
        self.start_app()
