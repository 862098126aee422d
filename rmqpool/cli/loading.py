"""``MODULE:WORKER`` to the Worker. A mistake is one sentence with a suggestion; only the user's own code shows a traceback."""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import ReportedError
from rmqpool.cli.keywords import misspelt_keyword
from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    from rmqpool.topology import Topology
    from rmqpool.worker import Worker

__all__ = ["load_topology", "load_worker", "nearest", "parse_path"]

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_IMPORTLIB = str(Path(importlib.__file__).parent) + os.sep


def load_worker(path: str) -> Worker:
    """Import the module (the working directory comes first) and return its Worker.

    Raises ConfigurationError with a suggestion; ReportedError, with the user's traceback, if the module itself fails.
    """
    from rmqpool.worker import Worker

    module, found = _find(path, Worker)
    if not isinstance(found, Worker):
        raise ConfigurationError(f"{path} is no Worker but {_kind(found)}; {_workers_hint(module, Worker)}")
    return found


def load_topology(path: str) -> tuple[Topology, ...]:
    """What ``MODULE:WORKER`` declares, or the queues, exchanges and bindings of ``MODULE:LIST``. Errors as load_worker's."""
    from rmqpool.cli.worker_facts import topology_of_worker
    from rmqpool.topology import Binding, Exchange, Queue
    from rmqpool.worker import Worker

    module, found = _find(path, Worker)
    if isinstance(found, Worker):
        return topology_of_worker(found)
    if isinstance(found, list | tuple) and all(isinstance(item, Queue | Exchange | Binding) for item in found):
        return tuple(found)
    raise ConfigurationError(
        f"{path} is neither a Worker nor a list of Queue, Exchange and Binding but {_kind(found)}; "
        f"{_workers_hint(module, Worker)}"
    )


def _find(path: str, worker_class: type) -> tuple[ModuleType, Any]:
    module_name, attribute = parse_path(path)
    module = _import(module_name, attribute)
    found: Any = module
    for part in attribute.split("."):
        found = _attribute(module, found, part, attribute, worker_class)
    return module, found


def _attribute(module: ModuleType, owner: Any, part: str, attribute: str, worker_class: type) -> Any:
    """``owner.part``. The user's own code may run here: a module's __getattr__, a property."""
    try:
        return getattr(owner, part)
    except ConfigurationError as error:
        raise _misconfigured(error) from None
    except AttributeError as error:
        is_another = error.obj not in (None, owner) or error.name not in (None, part)
        if is_another:  # a mistake in their code
            raise _failed(f"reading {module.__name__}:{attribute}", module.__name__, error) from None
        raise _missing(module, attribute, worker_class) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything; it is told as theirs
        raise _failed(f"reading {module.__name__}:{attribute}", module.__name__, error) from None


def parse_path(path: str) -> tuple[str, str]:
    """Module and attribute of ``module.sub:attribute``. Pure. Raises ConfigurationError with what it should be."""
    module, separator, attribute = path.partition(":")
    if separator and _is_dotted(module) and _is_dotted(attribute):
        return module, attribute
    raise ConfigurationError(f"{path!r} is not MODULE:WORKER: {_corrected(module, attribute or 'worker')}")


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` for the nearest known name, or an empty text. Pure."""
    close = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _is_dotted(text: str) -> bool:
    return bool(text) and all(part.isidentifier() for part in text.split("."))


def _corrected(module: str, attribute: str) -> str:
    candidate = module.removesuffix(".py").strip("./").replace("/", ".")
    return f"did you mean {candidate}:{attribute}?" if _is_dotted(candidate) else f"write package.module:{attribute}"


def _import(name: str, attribute: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _no_module(name, error.name, attribute) from None
        raise _failed(f"importing {name}", name, error) from None
    except ConfigurationError as error:
        raise _misconfigured(error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may raise anything; it is told as theirs
        raise _failed(f"importing {name}", name, error) from None


def _no_module(name: str, missing: str, attribute: str) -> ConfigurationError:
    if missing == name and name.endswith(".py"):  # what stands before it was imported: it is a file's name
        module = name.removesuffix(".py")
        return ConfigurationError(f"{name} is a file, not a module: did you mean {module}:{attribute}?")
    parent = missing.rpartition(".")[0]
    known = [f"{parent}.{found}" if parent else found for found in _modules_in(parent)]
    where = f"in package {parent}" if parent else f"in {Path.cwd()} or on the path of {sys.executable}"
    rest = f"{name.removeprefix(missing).removesuffix('.py')}:{attribute}"
    guess = difflib.get_close_matches(missing, known, n=1, cutoff=0.6)
    hint = (
        f": did you mean {guess[0]}{rest}?"
        if guess
        else ": start the command in the folder that holds it, or set PYTHONPATH"
    )
    return ConfigurationError(f"there is no module {missing} {where}{hint}")


def _modules_in(parent: str) -> list[str]:
    if not parent:
        return [found.name for found in pkgutil.iter_modules([str(Path.cwd())])]
    package = sys.modules.get(parent)
    return [found.name for found in pkgutil.iter_modules(getattr(package, "__path__", []))]


def _misconfigured(error: ConfigurationError) -> ConfigurationError:
    """What rmqpool says of the user's module while it is imported, with the user's line instead of a traceback.

    What the module itself raised is its own sentence, about its environment mostly: the line would tell nobody anything.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames[-1].filename.startswith(_PACKAGE):
        return error
    own = [
        frame for frame in frames if not frame.filename.startswith((_PACKAGE, "<", _IMPORTLIB))
    ]  # <string>: dataclasses
    return ConfigurationError(f"{own[-1].filename}:{own[-1].lineno}: {error}") if own else error


def _failed(doing: str, name: str, error: BaseException) -> ReportedError:
    """The user's code failed while we were ``doing`` that: their traceback, from their first line on, and which line."""
    own = _user_part(error.__traceback__)
    lines = "".join(traceback.format_exception(type(error), error, own))
    frames = traceback.extract_tb(own)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else _syntax_place(error)
    text = str(error).strip().splitlines()
    told = f"{type(error).__name__}{f': {text[0]}' if text else ''}"
    misspelt = misspelt_keyword(error)
    told += nearest(*misspelt) if misspelt else ""
    return ReportedError(
        f"{doing} failed{f' at {where}' if where else ''}: {told}",
        kind="ImportFailed",
        exit_code=ExitCode.CONFIGURATION,
        detail=lines,
        facts={"module": name},
    )


def _user_part(trace: TracebackType | None) -> TracebackType | None:
    """Without our own frames and those of the import machinery at the top."""
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if filename not in (__file__, importlib.__file__) and not filename.startswith("<frozen importlib"):
            return trace
        trace = trace.tb_next
    return None


def _syntax_place(error: BaseException) -> str:
    return f"{error.filename}:{error.lineno}" if isinstance(error, SyntaxError) and error.filename else ""


def _missing(module: ModuleType, attribute: str, worker_class: type) -> ConfigurationError:
    hint = nearest(attribute, _workers(module, worker_class)) or f"; {_workers_hint(module, worker_class)}"
    return ConfigurationError(f"module {module.__name__} has no {attribute}{hint}")


def _workers(module: ModuleType, worker_class: type) -> list[str]:
    return sorted(name for name, value in vars(module).items() if isinstance(value, worker_class))


def _workers_hint(module: ModuleType, worker_class: type) -> str:
    workers = _workers(module, worker_class)
    if workers:
        return f"its workers: {', '.join(f'{module.__name__}:{name}' for name in workers)}"
    name = module.__name__.rpartition(".")[2]
    return f'{module.__name__} holds no Worker: write worker = Worker("{name}") in it (from rmqpool import Worker)'


def _kind(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
