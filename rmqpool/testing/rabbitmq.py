"""A RabbitMQ node of the tests' own, from the binaries on this machine.

Law: the machine's own broker, its configuration, its data and its epmd are never touched; everything a node has is in
one private folder, listens on loopback only, and is gone when the node is closed or its process dies.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

import tenacity

from rmqpool.testing.erlang import program, shared_epmd
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.passwords import new_password
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.processes import GuardedProcess, PrivateFolder, run_command, service_user
from rmqpool.testing.rabbitmq_files import (
    MODULES_FILE,
    NodePlaces,
    configuration,
    enabled_plugins,
    environment,
    modules_list,
    starting_at_once,
)
from rmqpool.testing.rabbitmq_install import find_rabbitmq
from rmqpool.testing.rabbitmq_node import RabbitMQNode
from rmqpool.testing.waiting import wait_until

__all__ = ["LocalRabbitMQ", "RabbitMQNode"]

_CERTIFICATE_KEYS = ("ssl_options.cacertfile", "ssl_options.certfile", "ssl_options.keyfile")
# And if so, RabbitMQ need not run another Erlang each minute, for a second of processor time, to find out whether there is an
# epmd: that is ours, and ends after the node.
_IS_RUNNING = (
    "case rabbit:is_running() of true -> supervisor:terminate_child(rabbit_sup, rabbit_epmd_monitor_sup), true;"
    " No -> No end."
)
_LISTENER_KEYS = ("management.tcp.", "management.ssl.", "management.listener.")


class LocalRabbitMQ(RabbitMQNode):
    """A private node: `with LocalRabbitMQ() as node: connect(node.amqp_url())`.

    `config` holds lines of rabbitmq.conf ({"consumer_timeout": "2000"}) and wins over our own. With any `ssl_options.*`
    in it the node also listens for TLS on `tls_port`; certificate files are copied, so that the node may read them.
    `plugins` are names of plugins; the API of "rabbitmq_management" answers at `management_port`, on 127.0.0.1, unless
    `config` says where.
    Raises `ServicesError` when RabbitMQ is not installed.
    """

    def __init__(self, config: Mapping[str, str] | None = None, plugins: tuple[str, ...] = ()) -> None:
        self._install = find_rabbitmq()
        self._user = service_user("rabbitmq")
        self._epmd = shared_epmd(self._user)
        self._process: GuardedProcess | None = None
        self._closed = False
        self.user, self.password = "tests", new_password()
        config = dict(config or {})
        with_tls = any(key.startswith("ssl_options.") for key in config)
        with_api = "rabbitmq_management" in plugins and not any(key.startswith(_LISTENER_KEYS) for key in config)
        self._ports = [ReservedPort() for _ in range(2 + with_tls + with_api)]
        self._folder = PrivateFolder("rabbitmq", self._user)
        numbers = [port.number for port in self._ports]
        self._places = NodePlaces(
            name=f"rmqpool{numbers[0]}@localhost",
            port=numbers[0],
            distribution_port=numbers[1],
            tls_port=numbers[2] if with_tls else None,
            management_port=numbers[-1] if with_api else None,
            folder=self._folder.path,
        )
        self.port, self.tls_port = self._places.port, self._places.tls_port
        self.management_port = self._places.management_port
        path = f"{Path(program('erl')).parent}:{os.defpath}:/usr/sbin:/sbin"
        try:
            self._write_files(config, plugins)
            self._epmd.acquire()
        except BaseException:
            self._give_back()
            raise
        self._environment = environment(self._places, path, self._epmd.environment)
        self._starting = starting_at_once(self._places, config.get("net_ticktime"))

    @property
    def name(self) -> str:
        """The Erlang name of the node."""
        return self._places.name

    @property
    def folder(self) -> Path:
        """The private folder with all that the node has."""
        return self._folder.path

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def start(self, timeout: float = 60) -> None:
        if self._closed:
            raise ServicesError(f"{self!r} is closed; make a new one.")
        if not self.is_running:
            self._process = GuardedProcess(
                self._install.command("rabbitmq-server"),
                folder=self._folder.path,
                log=self._folder.path / "output.log",
                environment={**self._environment, **self._starting},
                user=self._user,
            )
        self.wait_ready(timeout)

    def wait_ready(self, timeout: float = 60) -> None:
        try:
            wait_until(self._is_ready, f"{self!r} to take connections", timeout=timeout, interval=0.1)
        except ServicesError as error:
            raise ServicesError(f"{error} It wrote:\n{_shortened(self.log())}") from None

    def stop(self, timeout: float = 30) -> None:
        if self._process is not None and self._process.is_running:
            self._process.send_all(signal.SIGCONT)
            self._process.send(signal.SIGTERM)
            if not self._process.wait(timeout):
                self.kill()
                raise ServicesError(f"{self!r} did not stop within {timeout:g} s, and was killed.")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def pause(self) -> None:
        self._running().pause_all()

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_all(signal.SIGCONT)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.kill()
            self._epmd.release()
            self._give_back()

    def log(self) -> str:
        """What the node wrote: its output and its log file."""
        files = [self.folder / "output.log", self.folder / "log" / f"{self.name}.log"]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def ctl(self, *arguments: str, timeout: float = 30) -> str:
        return run_command(
            [*self._install.command("rabbitmqctl"), "--quiet", "--node", self.name, *arguments],
            environment=self._environment,
            timeout=timeout,
            user=self._user,
            cwd=self.folder,
        )

    def evaluate_raw(self, expression: str, timeout: float) -> str:
        self._running()
        address = f"localhost:{self._places.distribution_port}"
        command = [program("erl_call"), "-address", address, "-r", "-timeout", str(max(1, round(timeout))), "-e"]
        # erl_call finds the cookie in HOME: it does not appear in the list of processes. It runs as the user that we are:
        # another one would cost a copy of this process's page tables, which takes longer than the call.

        def call() -> str:
            return run_command(
                command,
                environment=self._environment,
                timeout=timeout + 1,
                stdin=expression + "\n",
                cwd=self.folder,
            )

        # A busy machine lets the handshake between two Erlang nodes fail; nothing was evaluated then.
        not_begun = tenacity.retry_if_exception_message(match=r"(?s).*failed to connect to node")
        return tenacity.Retrying(retry=not_begun, stop=tenacity.stop_after_attempt(3), reraise=True)(call)

    def _give_back(self) -> None:
        self._folder.remove()
        for port in self._ports:
            port.release()

    def _running(self) -> GuardedProcess:
        if self._process is None or not self._process.is_running:
            raise ServicesError(f"{self!r} does not run; call start() first.")
        return self._process

    def _is_ready(self) -> bool:
        if not self.is_running:
            raise ServicesError(f"{self!r} ended while it started.")
        try:  # it listens last: asking earlier costs the processor that it starts with
            socket.create_connection((self.host, self.port), timeout=1).close()
            return "true" in self.evaluate_raw(_IS_RUNNING, timeout=2)
        except (ServicesError, OSError):
            return False

    def _write_files(self, config: dict[str, str], plugins: tuple[str, ...]) -> None:
        folder = self._folder
        home, lean = folder.folder("home"), folder.folder("rabbitmq")
        for name in ("data", "log", "generated", "conf.d"):
            folder.folder(name)
        folder.file(str(home.relative_to(folder.path) / ".erlang.cookie"), self._epmd.cookie, mode=0o400)
        self._install.lean_home(lean, plugins)
        for key in _CERTIFICATE_KEYS:
            if key in config:
                config[key] = str(folder.file(f"{key}.pem", Path(config[key]).read_bytes()))
        folder.file("rabbitmq.conf", configuration(self._places, self.user, self.password, config))
        folder.file("enabled_plugins", enabled_plugins(plugins))
        folder.file(MODULES_FILE, modules_list(self._install.modules(plugins)))


def _shortened(log: str) -> str:
    # The cause comes first, Erlang's crash report, which is long, after it.
    return log if len(log) < 5000 else f"{log[:4000]}\n[...]\n{log[-1000:]}"
