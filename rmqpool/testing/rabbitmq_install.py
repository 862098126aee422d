"""Where RabbitMQ is installed, and a lean view on it that starts faster.

At boot RabbitMQ loads every module that its applications name, those of Erlang, too, to look for its own attributes in
them; and Erlang before 26 looks for each in every folder of the code path: with the folders of all its 60 plugins there,
that is most of the time a node takes to start. A lean home holds links to what the wanted plugins need, and nothing else,
and descriptions of Erlang's applications that name no modules, which are loaded when they are called. What is loaded in any
case is loaded at once, because Erlang copies its table of functions each time it loads something.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rmqpool.testing.erlang import program
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.system_root import command_inside

__all__ = ["RabbitMQInstall", "find_rabbitmq", "without_modules"]

_MISSING = (
    "RabbitMQ is not installed; install it with: sudo apt-get install rabbitmq-server"
    " (or start a Docker engine, or set RMQPOOL_TEST_RABBITMQ_HOME to an unpacked RabbitMQ)"
)


# Erlang's applications that are there before RabbitMQ is.
_STARTED = ("kernel", "stdlib", "sasl")


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
        for name in ("plugins", "applications"):
            (folder / name).mkdir(mode=0o755)
        needed = self._needed(plugins)
        for name, path in needed.items():
            if path.parent == self.home / "plugins":
                (folder / "plugins" / path.name).symlink_to(self._seen(path))
            elif "khepri" not in needed:  # the database of RabbitMQ 4 needs to know which modules are Erlang's
                lean = folder / "applications" / f"{name}.app"
                lean.write_text(without_modules(_description(path, name)))
                lean.chmod(0o644)

    def modules(self, plugins: tuple[str, ...]) -> list[str]:
        """The modules that a node with these plugins loads when it starts."""
        needed = self._needed(plugins).items()
        folders = [path for name, path in needed if name in _STARTED or path.parent == self.home / "plugins"]
        return sorted(file.stem for folder in folders for file in (folder / "ebin").glob("*.beam"))

    def _seen(self, path: Path) -> Path:
        """As the broker sees it."""
        return path if self.root is None else Path("/") / path.relative_to(self.root)

    def _needed(self, names: tuple[str, ...]) -> dict[str, Path]:
        """The folders of RabbitMQ, these plugins and all applications that they need, Erlang's own, too, by name."""
        plugins = _applications(self.home / "plugins")
        unknown = [name for name in names if name not in plugins]
        if unknown:
            raise ServicesError(f"{self.home} has no plugin {unknown[0]!r}.")
        applications = {**_applications(self._erlang()), **plugins}
        found: dict[str, Path] = {}
        waiting = ["rabbit", "rabbitmq_prelaunch", *names]
        while waiting:
            name = waiting.pop()
            if name in applications and name not in found:
                found[name] = applications[name]
                waiting += _requirements(_description(applications[name], name))
        return found

    def _erlang(self) -> Path:
        """The folder of the applications of the Erlang that runs RabbitMQ; it need not be there."""
        if self.root is not None:
            return self.root / "usr/lib/erlang/lib"
        return Path(program("erl")).resolve().parent.parent / "lib"


def _applications(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.name.partition("-")[0]: path for path in folder.iterdir() if path.is_dir()}


def _description(application: Path, name: str) -> str:
    file = application / "ebin" / f"{name}.app"
    return file.read_text() if file.exists() else ""


def _requirements(description: str) -> list[str]:
    lists = re.findall(r"\{\s*(?:optional_|included_)?applications\s*,\s*\[([^\]]*)\]", description)
    return re.findall(r"\w+", ",".join(lists))


def without_modules(description: str) -> str:
    """The text of an application's description (an .app file) whose list of modules is empty."""
    return re.sub(r"\{\s*modules\s*,\s*\[[^\]]*\]\s*\}", "{modules, []}", description)


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
