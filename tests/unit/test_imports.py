"""What `import rmqpool` costs is only what is used: each program here is a fresh interpreter that tells what it loaded."""

import subprocess
import sys

import pytest

import rmqpool

COMMAND_LINE = ("typer", "rich")
SETTINGS = ("pydantic", "pydantic_core", "pydantic_settings")
CODECS = ("kombu", "msgspec", "msgpack", "yaml")
RETRIES = ("tenacity",)
DATABASES = ("psycopg", "psycopg_pool", "sqlite3")
OPENSSL_HASHES = ("hashlib", "hmac")

TELL = "import sys; print(*sorted(sys.modules), file=sys.stderr)"


def loaded_by(program: str) -> set[str]:
    """The modules that a fresh interpreter holds after ``program``: what one of its lines alone would load is among them."""
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}\n{TELL}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.split())


def test_the_package_alone_loads_only_itself() -> None:
    """Its names wait until somebody uses them."""
    loaded = {name for name in loaded_by("import rmqpool") if name.startswith("rmqpool")}
    assert loaded == {"rmqpool", "rmqpool.version", "rmqpool.late_imports"}


def test_importing_loads_no_library_that_is_not_used() -> None:
    """No command line, settings reader, codec or database: neither for who publishes nor for who consumes."""
    loaded = loaded_by("from rmqpool import Publisher, Worker, ConnectionPool, Queue, Exchange, RmqpoolError")
    unused = (*COMMAND_LINE, *SETTINGS, *CODECS, *RETRIES, *DATABASES, *OPENSSL_HASHES)
    assert loaded.isdisjoint(unused), sorted(loaded.intersection(unused))


def test_values_and_errors_load_no_pika_and_no_asyncio() -> None:
    """A module that only describes a topology, or only catches errors, pays for neither."""
    loaded = loaded_by("from rmqpool import Queue, Exchange, Binding, RmqpoolError, NackedError, Confirmation, Message")
    assert loaded.isdisjoint({"pika", "asyncio", "ssl"})


def test_importing_adds_no_module_of_python_that_a_publisher_has_no_use_for() -> None:
    """Beside what pika loads: dataclasses, JSON and zlib for bodies, chance for lifetimes."""
    before = loaded_by("import pika")
    added = {name.partition(".")[0].lstrip("_") for name in loaded_by("from rmqpool import Publisher, Worker") - before}
    assert added - {"rmqpool", "uuid_utils"} <= {"dataclasses", "json", "zlib", "random", "bisect", "sha512", "sha2"}


def test_a_pool_loads_what_it_is_made_of_when_it_is_made() -> None:
    """Connections and leases come with the pool, not with the import of its class."""
    parts = {"rmqpool.amqp.publishing", "rmqpool.leasing", "rmqpool.pool_declare", "tenacity", "encodings.idna"}
    assert loaded_by("from rmqpool import ConnectionPool").isdisjoint(parts)
    assert parts <= loaded_by("from rmqpool import ConnectionPool; ConnectionPool('amqp://localhost/')")


def test_a_worker_loads_what_a_run_needs_when_it_is_made() -> None:
    """Executors, parking and the rest come with the worker: what runs on its threads is there before they are."""
    parts = {
        "rmqpool.worker.runner",
        "rmqpool.worker.parking",
        "rmqpool.worker.thread_executor",
        "rmqpool.worker.stats",
    }
    assert loaded_by("from rmqpool import Worker").isdisjoint(parts)
    assert parts <= loaded_by("from rmqpool import Worker; Worker('orders')")


def test_the_command_loads_no_library_before_there_is_a_command_to_run() -> None:
    """`rmqpool --help` answers at once: without pika, settings, codecs and tables."""
    runs = "; ".join(f"run({arguments!r})" for arguments in (["--help"], ["--version"], []))
    loaded = loaded_by(f"from rmqpool.cli.main import run; {runs}")
    unused = ("pika", "rich", "ssl", "asyncio", *SETTINGS, *CODECS, *RETRIES, *DATABASES)
    assert "typer" in loaded
    assert loaded.isdisjoint(unused), sorted(loaded.intersection(unused))


@pytest.mark.parametrize("name", rmqpool.__all__)
def test_every_public_name_is_there_and_stays_the_same_object(name: str) -> None:
    """A name is looked up once; `rmqpool.X is rmqpool.X`."""
    first = getattr(rmqpool, name)
    assert getattr(rmqpool, name) is first
    assert name in dir(rmqpool)


def test_a_class_says_where_it_lives_and_is_found_there() -> None:
    """Pickling and documentation go by module and qualified name: a class that came late is no exception."""
    classes = [value for name in rmqpool.__all__ if isinstance(value := getattr(rmqpool, name), type)]
    assert len(classes) > 40
    assert [one for one in classes if getattr(sys.modules[one.__module__], one.__qualname__) is not one] == []


def test_a_wrong_name_of_the_worker_package_is_an_attribute_error() -> None:
    """Late names do not swallow typing errors."""
    with pytest.raises(AttributeError, match="WorkerStatistics"):
        _ = rmqpool.worker.WorkerStatistics  # type: ignore[attr-defined]
