"""The tree shows the architecture, and these tests keep it so: imports point one way, pika stays in one place."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import rmqpool

PACKAGE = Path(rmqpool.__file__).parent
LONGEST_FILE = 400
_PURE = re.compile(r"\bPure(?=[.:;]| but)")

# Each module may import those of its own line and of the lines above it; a package's name stands for all in it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "version", "late_imports", "secret", "tls", "identifiers", "headers", "callables"),
    (
        "message",
        "topology",
        "topology_checks",
        "mismatch",
        "header_checks",
        "settings",
        "urls",
        "url_options",
        "agent_urls",
    ),
    ("copies",),
    ("core",),
    ("breaker",),
    ("write_lease", "future", "window", "wakeups"),
    ("amqp",),
    ("borrowers", "pool_events", "pool_figures", "tickets", "lease_figures", "leaks"),
    ("leasing", "lease", "lease_topology", "publish_connections", "consume_connections"),
    ("pool_declare", "pool_options", "pool_process", "pool_stats", "looks", "pool_check", "held_back"),
    ("retries", "lease_scaling", "connection_scaling"),
    ("pool_parts", "pool_telling", "pool", "resources"),
    ("codecs", "compression", "conversion", "plain_json", "preparation", "envelope"),
    ("sealing", "middleware", "calls"),
    ("publisher", "async_publisher", "consumer"),
    ("pool_manager",),
    ("worker", "outbox", "dlq", "planning", "middlewares", "health", "supervisor", "agent"),
    ("config", "config_sources"),
    ("cli", "testing", "__main__"),
)
MAY_IMPORT_PIKA = ("amqp", "testing")
# What a pure decision has no business with: sockets, threads, clocks, chance, files, processes, other people's I/O.
NOT_FOR_CORE = frozenset(
    {"asyncio", "io", "os", "pathlib", "pika", "queue", "random", "secrets", "select", "selectors", "shutil", "signal"}
    | {
        "socket",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "concurrent",
        "multiprocessing",
        "logging",
    }
)


def module_name(path: Path) -> str:
    """`rmqpool/amqp/link.py` is `rmqpool.amqp.link`; a package is named by its folder."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


class Facts(NamedTuple):
    """Of one module: the full names of the modules that it imports, at any depth of it, and its docstring."""

    imports: frozenset[str]
    docstring: str


def runtime_statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every statement except those under `if TYPE_CHECKING`, and whatever may hold one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.expr | ast.expr_context | ast.arguments):
            continue  # holds no statement
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from runtime_statements(other)
            continue
        yield node
        yield from runtime_statements(node)


@cache
def facts_of(module: str) -> Facts:
    """Read by the first test that asks: a process that runs none of them pays nothing. Keeps no tree, which are large."""
    tree = ast.parse(MODULES[module].read_text())
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in runtime_statements(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names}
    return Facts(frozenset(found), ast.get_docstring(tree) or "")


def imports_of(module: str) -> frozenset[str]:
    """What it imports."""
    return facts_of(module).imports


def place_of(module: str) -> str:
    """The first part below `rmqpool`."""
    return module.split(".")[1] if "." in module else ""


def layer_of(module: str) -> int:
    """Its line in LAYERS. A module that has none fails the test: it needs a place in the architecture."""
    for number, names in enumerate(LAYERS):
        if place_of(module) in names:
            return number
    raise AssertionError(f"{module} has no place in LAYERS: give it one")


def own_imports(module: str) -> set[str]:
    """What it imports of rmqpool."""
    return {name for name in imports_of(module) if name.split(".")[0] == "rmqpool"}


inner_modules = sorted(name for name in MODULES if name != "rmqpool")


def test_imports_point_in_the_allowed_direction() -> None:
    """From what users hold down to values and errors, never back; nothing inside imports the package's front."""
    for module in inner_modules:
        for imported in own_imports(module):
            assert imported != "rmqpool", f"{module} imports the package itself: import from where the name is"
            assert layer_of(imported) <= layer_of(module), f"{module} imports {imported}, which stands above it"


def test_the_layers_name_what_there_is() -> None:
    """Each place once, and none that is gone."""
    places = [place for line in LAYERS for place in line]
    assert sorted(places) == sorted({place_of(module) for module in inner_modules})
    assert set(MAY_IMPORT_PIKA) <= set(places)


def test_the_page_on_the_architecture_names_every_place() -> None:
    """Its table of layers is this one, for people."""
    page = (PACKAGE.parent / "docs/explanation/architecture.md").read_text()
    rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    named = {name.removesuffix("/").removesuffix(".py") for name in re.findall(r"`([\w/.]+)`", rows)}
    places = {place for line in LAYERS for place in line}
    assert places - named == set()
    assert {name for name in named if "/" not in name} - places == set()


def test_no_module_imports_itself_around_a_corner() -> None:
    """Cycles would make the order of imports matter."""
    state: dict[str, int] = {}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert state.get(module) != 1, f"import cycle: {' → '.join((*trail, module))}"
        if module in state:
            return
        state[module] = 1
        for imported in sorted(own_imports(module) & set(inner_modules)):
            visit(imported, (*trail, module))
        state[module] = 2

    for module in inner_modules:
        visit(module, ())


def test_pika_is_imported_in_one_place_only() -> None:
    """Everything else goes through rmqpool.amqp."""
    for module in inner_modules:
        if place_of(module) not in MAY_IMPORT_PIKA:
            assert not {name for name in imports_of(module) if name.split(".")[0] == "pika"}, module


def test_the_core_decides_and_does_nothing() -> None:
    """No sockets, threads, clocks or randomness of its own; so does every module that says of itself that it is pure."""
    core = {name for name in inner_modules if place_of(name) == "core"}
    pure = {name for name in MODULES if _PURE.search(facts_of(name).docstring)}
    assert core
    assert pure
    for module in core | pure:
        forbidden = NOT_FOR_CORE if module in core else NOT_FOR_CORE - {"pathlib", "pika"}  # a path, a codec
        assert not {name.split(".")[0] for name in imports_of(module)} & forbidden, module


def test_no_file_is_too_long() -> None:
    """One concern a file."""
    lines = {module: path.read_text().count("\n") for module, path in MODULES.items()}
    assert {module: count for module, count in lines.items() if count > LONGEST_FILE} == {}


def test_every_module_opens_with_a_docstring() -> None:
    """Its law, in a sentence or two."""
    assert [module for module in MODULES if not facts_of(module).docstring] == []


def test_every_name_in_all_exists() -> None:
    """What a module promises can be imported."""
    for module in sorted(name for name in MODULES if not name.endswith("__main__")):
        imported = importlib.import_module(module)
        names = getattr(imported, "__all__", [])
        assert len(set(names)) == len(names), module
        assert [name for name in names if not hasattr(imported, name)] == [], module


def test_the_front_of_the_package_gives_all_its_names() -> None:
    """`from rmqpool import *` works, and dir() shows what there is."""
    namespace: dict[str, object] = {}
    exec("from rmqpool import *", namespace)
    assert set(rmqpool.__all__) <= set(namespace)
    assert set(rmqpool.__all__) <= set(dir(rmqpool))


def test_a_wrong_name_is_an_attribute_error() -> None:
    """Lazy names do not swallow typing errors."""
    with pytest.raises(AttributeError, match="Publischer"):
        _ = rmqpool.Publischer  # type: ignore[attr-defined]
