"""What a private RabbitMQ node reads: its configuration and its environment. Pure: values in, text out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "MODULES_FILE",
    "NodePlaces",
    "configuration",
    "enabled_plugins",
    "environment",
    "modules_list",
    "starting_at_once",
]

MODULES_FILE = "modules"  # in the node's folder; an atom of Erlang as it stands

_EMULATOR = (
    "+S 2:2 +SDcpu 1:1 +SDio 4 -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
    " -rabbit quorum_tick_interval 200"  # milliseconds: the counts of quorum queues are that old
)


@dataclass(frozen=True)
class NodePlaces:
    """Where a node lives: its name, ports and folders."""

    name: str
    port: int
    tls_port: int | None
    management_port: int | None
    distribution_port: int
    folder: Path


def configuration(places: NodePlaces, user: str, password: str, extra: Mapping[str, str]) -> str:
    """The text of rabbitmq.conf; `extra` wins over what is set here."""
    values = {
        "listeners.tcp.1": f"127.0.0.1:{places.port}",
        "default_user": user,
        "default_pass": password,
        "disk_free_limit.absolute": "1MB",
        "log.console": "false",
        "log.file.level": "warning",
        "cluster_partition_handling": "ignore",
        "collect_statistics_interval": "5000",
    }
    if places.tls_port is not None:
        values["listeners.ssl.1"] = f"127.0.0.1:{places.tls_port}"
    if places.management_port is not None:  # otherwise it is 15672 on all interfaces, for each node of the machine
        values |= {"management.tcp.ip": "127.0.0.1", "management.tcp.port": str(places.management_port)}
    return "".join(f"{key} = {value}\n" for key, value in {**values, **extra}.items())


def enabled_plugins(names: tuple[str, ...]) -> str:
    """The text of the enabled_plugins file."""
    return f"[{','.join(names)}].\n"


def modules_list(names: Iterable[str]) -> str:
    """The text of MODULES_FILE."""
    return "[" + ",".join(f"'{name}'" for name in names) + "].\n"


def starting_at_once(places: NodePlaces, ticktime: str | None) -> dict[str, str]:
    """What the environment of the node, and not of its tools, has besides: it loads MODULES_FILE's before it starts, and has
    its name from the beginning. `ticktime`: net_ticktime of rabbitmq.conf, in seconds, which RabbitMQ reads too late then."""
    # RabbitMQ names a node that has no name itself, and runs a second Erlang, to its end, to have an epmd before.
    named = f"-sname {places.name} -kernel inet_dist_listen_min {places.distribution_port}"
    named += f" -kernel inet_dist_listen_max {places.distribution_port}"
    if ticktime is not None:
        named += f" -kernel net_ticktime {ticktime}"
    # Without blanks and quotes, which erl would take for its own. Nothing happens when the file cannot be read.
    loading = f"-eval catch(code:ensure_modules_loaded(hd(element(2,file:consult({MODULES_FILE})))))"
    return {"ERL_AFLAGS": loading, "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_EMULATOR} {named}"}


def environment(places: NodePlaces, path: str, epmd: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the node and of rabbitmqctl: nothing of the machine's configuration is read."""
    folder = places.folder
    return {
        "PATH": path,
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "RABBITMQ_SCRIPTS_DIR": str(folder / "rabbitmq" / "sbin"),
        "RABBITMQ_SERVER_CODE_PATH": str(folder / "rabbitmq" / "applications"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_NODENAME": places.name,
        "RABBITMQ_DIST_PORT": str(places.distribution_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CTL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
        # Any free port for rabbitmqctl's own node: the default is a fixed, narrow range.
        "RABBITMQ_CTL_DIST_PORT_MIN": "0",
        "RABBITMQ_CTL_DIST_PORT_MAX": "0",
        # The start script replaces itself by Erlang, as it does under systemd, instead of staying as its parent.
        "RUNNING_UNDER_SYSTEMD": "true",
        **epmd,
    }
