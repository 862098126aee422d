"""The documentation is true: its code runs, its commands are known, its links lead somewhere, its tables are complete."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy

from rmqpool import Publisher, Queue
from rmqpool.outbox import Relay, Tables
from rmqpool.outbox.migrations import check_version, migrate
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.lenders import Django
from tests.integration.pages import NAMES, ROOT, Block, blocks_of

DOCUMENTED_URL = "amqp://guest:guest@127.0.0.1/"  # stands for the test's own broker
DOCUMENTED_DATABASE = "://shop:shop@127.0.0.1/shop"  # stands for the test's own database, whatever the scheme
OUTBOX_FILE = "docs/how-to/outbox.md"
OWN_POOL_FILE = "docs/how-to/own-pool.md"
PROCESSES_FILE = "docs/how-to/processes.md"
PYTEST_FILE = "docs/how-to/test.md"  # its blocks are a test file, and run as one
MOST_NOT_RUN = 2


# What happens between two blocks on the reader's terminal: it runs before the first block behind that heading.


def run_the_tutorials_worker(namespace: dict[str, Any], url: str) -> None:
    """`rmqpool worker shop:worker`, until all three orders are done with."""
    worker = namespace["worker"]
    worker.start(pool=url)
    wait_until(lambda: (worker.stats().handled, worker.stats().parked) == (2, 1), "the three orders", timeout=10)
    assert worker.stop(5)


def make_the_pages_tables(namespace: dict[str, Any], url: str) -> None:
    """The page has made the outbox' own; these are the application's."""
    with psycopg.connect(namespace["DATABASE"]) as connection:
        check_version(connection, Tables())
        connection.execute("CREATE TABLE orders (id serial PRIMARY KEY, customer text, amount text)")
        connection.execute("CREATE TABLE shipments (order_id int)")


def declare_the_queues(namespace: dict[str, Any], url: str) -> None:
    """The workers' business."""
    with Publisher(
        url, declare=[Queue(name) for name in ("orders", "cancellations", "mails", "reminders")]
    ) as publisher:
        publisher.publish("mails", b"so that they are declared")


def run_the_relay(namespace: dict[str, Any], url: str) -> None:
    """Until everything that the page wrote was published; then the page's own worker, until it has shipped the orders."""
    database: str = namespace["DATABASE"]
    namespace["engine"].dispose()
    with psycopg.connect(database, autocommit=True) as connection:
        tables = "SELECT (SELECT count(*) FROM rmqpool_outbox) + (SELECT count(*) FROM rmqpool_scheduled)"
        with Relay(url, database):
            wait_until(lambda: connection.execute(tables).fetchone() == (0,), "an empty outbox", timeout=20)
        worker = namespace["worker"]
        worker.start(pool=url)
        shipped = "SELECT count(*) FROM shipments"
        wait_until(lambda: connection.execute(shipped).fetchone() == (6,), "the page's six orders", timeout=20)
        assert worker.stop(5)
        assert connection.execute("SELECT count(*) FROM rmqpool_outbox").fetchone() == (6,)  # a mail for each


def make_the_readmes_tables(namespace: dict[str, Any], url: str) -> None:
    """`rmqpool outbox migrate`, and the tables of the example."""
    with psycopg.connect(namespace["documented_database"]) as connection:
        migrate(connection, Tables())
        connection.execute("CREATE TABLE orders (id int)")
        connection.execute("CREATE TABLE shipments (order_id int)")


def run_the_readmes_worker(namespace: dict[str, Any], url: str) -> None:
    """With its relay: it ships the order that was published, and the one that was committed."""
    worker = namespace["shipping"]
    worker.start(pool=url)
    with psycopg.connect(namespace["documented_database"], autocommit=True) as connection:
        shipped = "SELECT count(*) FROM shipments"
        wait_until(lambda: connection.execute(shipped).fetchone() == (2,), "both orders", timeout=20)
    assert worker.stop(5)


def run_the_processes_worker(namespace: dict[str, Any], url: str) -> None:
    """The page is a module then, which child processes import: one message is handled, one too slow, one poison."""
    code = "\n\n".join(block.code for block in blocks_of(PROCESSES_FILE, "python"))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "documented.py").write_text(code)
        patch.syspath_prepend(folder)
        worker = namespace["worker"]
        worker.start(pool=url, queues=["images", "reports", "scans"], timeout=30)
        with Publisher(url) as publisher:
            publisher.publish("images", {"id": 1})
            publisher.publish("reports", {"seconds": 30})
            publisher.publish("scans", {"broken": True})
        wait_until(lambda: worker.stats().handled == 1 and worker.stats().parked == 2, "all three", timeout=20)
        assert (worker.stats().timed_out, worker.stats().poisoned) == (1, 1)
        assert worker.stop(5)


class Shop(Django):
    """The page's Django."""

    alias = "shop"


def set_django_up(namespace: dict[str, Any], url: str) -> None:
    """What settings.py does."""
    namespace["django_of_the_page"] = Shop(namespace["documented_database"])


def close_django_and_count(namespace: dict[str, Any], url: str) -> None:
    """What the page has committed is there, with a message for each transaction; its engine has all connections back."""
    namespace["django_of_the_page"].close()
    assert namespace["engine"].pool.checkedout() == 0
    with psycopg.connect(namespace["documented_database"]) as connection:
        assert connection.execute("SELECT array_agg(id ORDER BY id) FROM parcels").fetchone() == ([2, 3, 4, 5],)


BEFORE: dict[tuple[str, str], Callable[[dict[str, Any], str], None]] = {
    ("README.md", "Messages that belong to a transaction"): make_the_readmes_tables,
    ("docs/tutorial.md", "What became of order 3"): run_the_tutorials_worker,
    (OUTBOX_FILE, "psycopg"): make_the_pages_tables,
    (OUTBOX_FILE, "Run the relay"): declare_the_queues,
    (OWN_POOL_FILE, "Django"): set_django_up,
}
AFTER: dict[str, Callable[[dict[str, Any], str], None]] = {
    "README.md": run_the_readmes_worker,
    OUTBOX_FILE: run_the_relay,
    OWN_POOL_FILE: close_django_and_count,
    PROCESSES_FILE: run_the_processes_worker,
}


def heading_before(block: Block) -> str:
    """The nearest heading above a block."""
    lines = (ROOT / block.file).read_text().splitlines()[: block.line]
    return next((line.lstrip("# ") for line in reversed(lines) if line.startswith("#")), "")


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[types.ModuleType]:
    """The module that the blocks of one file share; registered, as dataclasses look their own module up."""
    shared = types.ModuleType("documented")
    sys.modules["documented"] = shared
    yield shared
    del sys.modules["documented"]


WITH_CODE = [name for name in NAMES if blocks_of(name, "python") and name != PYTEST_FILE]


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_python_blocks_run(
    name: str, vhost_url: str, module: types.ModuleType, request: pytest.FixtureRequest
) -> None:
    """One after the other, in one namespace (whole files in one of their own, which those after them see too); an error
    names the file and the line of the document."""
    prepared = set()
    database = ""
    if any(DOCUMENTED_DATABASE in block.code for block in blocks_of(name, "python")):
        vars(module)["documented_database"] = request.getfixturevalue("postgres_url")
        database = vars(module)["documented_database"].removeprefix("postgresql")
    for block in blocks_of(name, "python"):
        place = (name, heading_before(block))
        if place in BEFORE and place not in prepared:
            prepared.add(place)
            BEFORE[place](vars(module), vhost_url)
        if block.not_run is None and not in_a_project(block):
            run_block(block, module, {DOCUMENTED_URL: vhost_url, DOCUMENTED_DATABASE: database})
    assert prepared == {place for place in BEFORE if place[0] == name}, "a heading was renamed"
    if name in AFTER:
        AFTER[name](vars(module), vhost_url)


def in_a_project(block: Block) -> bool:
    """It is a file in a folder, and runs as a part of what the folder belongs to, in a test of its own."""
    return block.path is not None and "/" in block.path


def run_block(block: Block, module: types.ModuleType, places: dict[str, str]) -> None:
    """Run it with ``places`` in the place of what stands for them."""
    code = "\n" * (block.line - 1) + block.code
    for documented, real in places.items():
        code = code.replace(documented, real)
    alone = types.ModuleType(module.__name__)
    namespace = vars(module) if block.path is None else vars(alone)
    sys.modules[module.__name__] = module if block.path is None else alone  # dataclasses look their own module up
    try:
        exec(compile(code, ROOT / block.file, "exec", dont_inherit=True), namespace)
    finally:
        sys.modules[module.__name__] = module
    for name, value in namespace.items():
        vars(module).setdefault(name, value)  # what the page has named first stays


# Whole projects of the reader's


def files_of_the_page(folder: str) -> dict[str, str]:
    """Path -> text of the outbox page's files in this folder."""
    blocks = [block for block in blocks_of(OUTBOX_FILE, "python") if block.path is not None]
    found = {block.path: block.code for block in blocks if block.path and block.path.startswith(f"{folder}/")}
    assert found, f"the page has no file of {folder}"
    return found


def tables_of(connection: psycopg.Connection[Any]) -> set[str]:
    """All tables of the database."""
    return {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


def test_the_revision_for_alembic_makes_and_removes_the_tables(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alembic itself is not needed: its op.execute is SQLAlchemy's text(), in a transaction."""
    (revision,) = files_of_the_page("alembic").values()
    engine = sqlalchemy.create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        before = tables_of(connection)
        for step in ("upgrade", "downgrade"):
            with engine.begin() as given:
                alembic = types.ModuleType("alembic")
                vars(alembic)["op"] = types.SimpleNamespace(
                    execute=lambda sql, given=given: given.execute(sqlalchemy.text(sql))
                )
                monkeypatch.setitem(sys.modules, "alembic", alembic)
                namespace: dict[str, Any] = {}
                exec(compile(revision, "0002_outbox.py", "exec", dont_inherit=True), namespace)
                namespace[step]()
            if step == "upgrade":
                check_version(connection, Tables())
        assert tables_of(connection) == before
    engine.dispose()


DJANGO_SETTINGS = """\
import os
INSTALLED_APPS = ["shop"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", **{
    name: os.environ[f"SHOP_{name}"] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}}}
"""


# One process, as each loads Django anew.
DJANGO_SHOP = """\
import django
from django.core.management import call_command
django.setup()
call_command("migrate")
call_command("makemigrations", check_changes=True)
from shop.models import place_order
place_order("Frances", "4.10")
"""


def test_the_files_for_django_are_a_project(postgres_url: str, tmp_path: Path) -> None:
    """Copied into an app as they are: they migrate, write an order with its message, and migrate back."""
    files = {"settings.py": DJANGO_SETTINGS, "shop/__init__.py": "", "shop/migrations/__init__.py": ""}
    page = files_of_the_page("shop")
    assert set(page) == {"shop/models.py", "shop/migrations/0002_outbox.py"}
    (tmp_path / "shop" / "migrations").mkdir(parents=True)
    for path, text in (files | {"shop/models.py": page["shop/models.py"]}).items():
        (tmp_path / path).write_text(text)
    given = psycopg.conninfo.conninfo_to_dict(postgres_url)
    parts = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    environment = os.environ | {f"SHOP_{name}": str(given.get(part) or "") for name, part in parts.items()}
    environment |= {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def django(*arguments: str) -> None:
        ended = subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr

    django("-m", "django", "makemigrations", "shop")  # the reader's own 0001_initial
    (tmp_path / "shop/migrations/0002_outbox.py").write_text(page["shop/migrations/0002_outbox.py"])
    django("-c", DJANGO_SHOP)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        check_version(connection, Tables())
        sql = "SELECT o.customer, m.key, m.routing_key FROM shop_order o, rmqpool_outbox m"
        assert connection.execute(sql).fetchall() == [("Frances", "Frances", "orders")]
        django("-m", "django", "migrate", "shop", "0001")
        assert not {name for name in tables_of(connection) if name.startswith("rmqpool_")}


def test_the_blocks_of_the_page_on_tests_are_a_test_file(tmp_path: Path) -> None:
    """They are copied into a folder of their own and run by pytest, as a reader would do it."""
    blocks = blocks_of(PYTEST_FILE, "python")
    (tmp_path / "test_documented.py").write_text("\n\n".join(block.code for block in blocks))
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "rmqpool.testing.plugin"]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # without the plugins of our own tests
    ended = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{sum(block.code.count('def test_') for block in blocks)} passed" in ended.stdout


def test_hardly_any_block_is_not_run() -> None:
    """What does not run goes stale: few, each with its reason, which is printed."""
    left_out = [block for name in NAMES for block in blocks_of(name, "python") if block.not_run]
    for block in left_out:
        print(f"{block.file}:{block.line} is not run: {block.not_run}")
    marks = sum((ROOT / name).read_text().count("<!-- not run:") for name in NAMES)
    assert marks == len(left_out), "a mark does not stand right before a python block"
    assert len(left_out) <= MOST_NOT_RUN
