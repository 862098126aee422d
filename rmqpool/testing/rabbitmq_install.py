"""Where RabbitMQ is installed, and a lean view on it that starts faster.

RabbitMQ loads every module of its applications at boot, and Erlang before 26 looks for each in every folder of the code
path: with the folders of all its 60 plugins there, that is most of the time a node takes to start. A lean home holds
links to what the wanted plugins need, and nothing else.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.system_root import command_inside

__all__ = ["RabbitMQInstall", "find_rabbitmq"]

_MISSING = (
    "RabbitMQ is not installed; install it with: sudo apt-get install rabbitmq-server"
    " (or start a Docker engine, or set RMQPOOL_TEST_RABBITMQ_HOME to an unpacked RabbitMQ)"
)


@dataclass(frozen=True)
class RabbitMQInstall:
    """A RabbitMQ on this machine: the folder that holds `sbin` and `plugins`.

    `root`: the folder of a system of its own that has it, with its own Erlang; None: this machine's system.
    """

    home: Path
    root: Path | None = None

    def command(self, name: str) -> list[str]:
        """How rabbitmq-server, rabbitmqctl... is started: the script itself, never a distribution's wrapper."""
        script = str(self._seen(self.home / "sbin" / name))
        return [script] if self.root is None else command_inside(self.root, script)

    def lean_home(self, folder: Path, plugins: tuple[str, ...]) -> None:
        """Fills `folder` so that it serves as RabbitMQ's home with only `plugins` and what they need."""
        for name in ("sbin", "escript"):
            (folder / name).symlink_to(self._seen(self.home / name))
        (folder / "plugins").mkdir(mode=0o755)
        for path in self._needed(("rabbit", "rabbitmq_prelaunch", *plugins)):
            (folder / "plugins" / path.name).symlink_to(self._seen(path))

    def _seen(self, path: Path) -> Path:
        """As the broker sees it."""
        return path if self.root is None else Path("/") / path.relative_to(self.root)

    def _needed(self, names: tuple[str, ...]) -> list[Path]:
        applications = {
            path.name.partition("-")[0]: path for path in (self.home / "plugins").iterdir() if path.is_dir()
        }
        unknown = [name for name in names if name not in applications]
        if unknown:
            raise ServicesError(f"{self.home} has no plugin {unknown[0]!r}.")
        found: dict[str, Path] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in applications and name not in found:
                found[name] = applications[name]
                waiting += _requirements(applications[name] / "ebin" / f"{name}.app")
        return list(found.values())


def _requirements(description: Path) -> list[str]:
    if not description.exists():
        return []
    lists = re.findall(r"\{\s*(?:optional_|included_)?applications\s*,\s*\[([^\]]*)\]", description.read_text())
    return re.findall(r"\w+", ",".join(lists))


def find_rabbitmq() -> RabbitMQInstall:
    """The RabbitMQ to use: RMQPOOL_TEST_RABBITMQ_ROOT (a folder with a whole Debian in it, as debootstrap makes them), else
    RMQPOOL_TEST_RABBITMQ_HOME (an unpacked RabbitMQ), else Debian's, else the one on PATH.

    Raises `ServicesError` that says what to install.
    """
    root = os.environ.get("RMQPOOL_TEST_RABBITMQ_ROOT")
    if root is not None:
        return _in_root(Path(root).resolve())
    named = os.environ.get("RMQPOOL_TEST_RABBITMQ_HOME")
    if named is not None:
        return _checked(Path(named))
    server = shutil.which("/usr/lib/rabbitmq/bin/rabbitmq-server") or shutil.which("rabbitmq-server")
    if server is None:
        raise ServicesError(_MISSING)
    return _checked(Path(server).resolve().parent.parent)


def _in_root(root: Path) -> RabbitMQInstall:
    homes = sorted(root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"))
    if not homes:
        raise ServicesError(f"{root} has no RabbitMQ: there is no usr/lib/rabbitmq/lib/rabbitmq_server-* in it.")
    return _checked(homes[-1], root)


def _checked(home: Path, root: Path | None = None) -> RabbitMQInstall:
    if not (home / "sbin" / "rabbitmq-server").exists() or not (home / "plugins").is_dir():
        raise ServicesError(f"{home} is not a RabbitMQ: there is no sbin/rabbitmq-server or no plugins in it.")
    return RabbitMQInstall(home, root)
