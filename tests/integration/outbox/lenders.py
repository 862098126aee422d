"""The application's pools of each kind, all with the same few methods, for tests of what borrows from them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import asyncpg
import psycopg_pool
import sqlalchemy
from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.utils import ConnectionHandler
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import create_async_engine

from rmqpool.outbox.adapters import waiting
from rmqpool.testing.waiting import wait_until


class Application:
    """Somebody's pool of at most ``size`` connections. ``handed`` is what the outbox is given."""

    handed: Any

    def __init__(self, url: str, size: int = 1) -> None:
        self.url = url
        self.open(size)

    def open(self, size: int) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def raw(self) -> Iterator[Any]:
        """The application itself takes a connection: the driver's, in no transaction."""
        raise NotImplementedError
        yield

    def out(self) -> int:
        """How many connections are with somebody."""
        raise NotImplementedError

    def is_open(self) -> bool:
        with self.raw() as raw, raw.cursor() as cursor:
            cursor.execute("SELECT 1")
            found = cursor.fetchone() == (1,)
            raw.rollback()
        return found

    def close(self) -> None:
        self.handed.close()


def nobody_takes() -> bool:
    """No thread takes a connection for somebody."""
    return sum(one.name == "rmqpool borrow" for one in threading.enumerate()) == len(waiting._IDLE)


class PsycopgPool(Application):
    kind: Any = psycopg_pool.ConnectionPool

    def open(self, size: int) -> None:
        options = {"autocommit": True} if type(self) is PsycopgPoolInAutocommit else {}
        self.handed = self.kind(self.url, min_size=0, max_size=size, timeout=30.0, kwargs=options, open=True)

    @contextlib.contextmanager
    def raw(self) -> Iterator[Any]:
        raw = self.handed.getconn(30.0)
        try:
            yield raw
        finally:
            self.handed.putconn(raw)

    def out(self) -> int:
        figures = self.handed.get_stats()
        return int(figures["pool_size"] - figures["pool_available"])

    def close(self) -> None:
        # What psycopg_pool opens in the place of a broken one while it is closed, it does not close.
        wait_until(lambda: self.out() == 0, "all connections to be back", timeout=60)
        super().close()


class PsycopgPoolInAutocommit(PsycopgPool):
    pass


class PsycopgNullPool(PsycopgPool):
    kind = psycopg_pool.NullConnectionPool


class Engine(Application):
    library = "psycopg"
    options: ClassVar[dict[str, Any]] = {}

    def open(self, size: int) -> None:
        address = self.url.replace("postgresql:", f"postgresql+{self.library}:")
        self.handed = sqlalchemy.create_engine(address, pool_size=size, max_overflow=0, **self.options)

    @contextlib.contextmanager
    def raw(self) -> Iterator[Any]:
        fairy = self.handed.raw_connection()
        try:
            yield fairy.driver_connection
        finally:
            fairy.close()

    def out(self) -> int:
        return int(self.handed.pool.checkedout())

    def close(self) -> None:
        # What a caller who gave up is given later goes back first, or it would lie in a pool that is gone.
        wait_until(nobody_takes, "all who gave up to have given back", timeout=60)
        self.handed.dispose()


class EngineInAutocommit(Engine):
    options: ClassVar[dict[str, Any]] = {"isolation_level": "AUTOCOMMIT"}


class Engine2(Engine):
    library = "psycopg2"


class DjangoPool(Application):
    """Django with its own pool."""

    alias = ""

    def open(self, size: int) -> None:
        if not settings.configured:
            settings.configure(USE_TZ=True)
        apps.populate(settings.INSTALLED_APPS)
        parts = conninfo_to_dict(self.url)
        names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
        database: dict[str, Any] = {name: parts.get(part, "") for name, part in names.items()}
        database["ENGINE"] = "django.db.backends.postgresql"
        database |= self.options(size)
        self.alias = self.alias or f"adapters_{uuid.uuid4().hex[:8]}"
        connections.settings[self.alias] = ConnectionHandler({"default": database}).settings["default"]
        self.handed = connections[self.alias]

    def options(self, size: int) -> dict[str, Any]:
        return {"OPTIONS": {"pool": {"min_size": 0, "max_size": size, "timeout": 1.0}}}

    @contextlib.contextmanager
    def raw(self) -> Iterator[Any]:
        self.handed.pool.open()
        raw = self.handed.pool.getconn(30.0)
        try:
            yield raw
        finally:
            self.handed.pool.putconn(raw)

    def out(self) -> int:
        if self.handed.pool is None or self.handed.pool.closed:
            return 0
        figures = self.handed.pool.get_stats()
        return int(figures["pool_size"] - figures["pool_available"])

    def is_open(self) -> bool:
        self.handed.close()
        return super().is_open()

    def close(self) -> None:
        self.handed.close()
        if self.handed.pool is not None:
            wait_until(lambda: self.out() == 0, "all connections to be back", timeout=60)
            self.handed.close_pool()
        del connections[self.alias], connections.settings[self.alias]


class Django(DjangoPool):
    """A connection for each thread, kept open."""

    def options(self, size: int) -> dict[str, Any]:
        return {"CONN_MAX_AGE": None}

    @contextlib.contextmanager
    def raw(self) -> Iterator[Any]:
        self.handed.ensure_connection()
        yield self.handed.connection

    def out(self) -> int:
        return 0

    def is_open(self) -> bool:
        return Application.is_open(self)


APPLICATIONS: dict[str, type[Application]] = {
    "psycopg-pool": PsycopgPool,
    "psycopg-pool-in-autocommit": PsycopgPoolInAutocommit,
    "psycopg-null-pool": PsycopgNullPool,
    "engine-psycopg": Engine,
    "engine-psycopg-in-autocommit": EngineInAutocommit,
    "engine-psycopg2": Engine2,
    "django": Django,
    "django-pool": DjangoPool,
}


class AsyncApplication(Application):
    """A pool that is awaited, in an event loop of its own; the test calls it as if it blocked."""

    def __init__(self, url: str, size: int = 1) -> None:
        self.runner = asyncio.Runner()
        super().__init__(url, size)

    def open(self, size: int) -> None:
        self.runner.run(self.aopen(size))

    async def aopen(self, size: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        try:
            self.runner.run(self._nobody_takes())
            self.runner.run(self.aclose())
        finally:
            self.runner.close()

    async def aclose(self) -> None:
        await self.handed.close()

    async def _nobody_takes(self) -> None:
        late = [one for one in waiting._LATE if one.get_loop() is asyncio.get_running_loop()]
        if late:
            await asyncio.wait(late, timeout=60)

    @contextlib.contextmanager
    def raw(self) -> Iterator[Any]:
        entered = self.araw()
        yield self.runner.run(entered.__aenter__())
        self.runner.run(entered.__aexit__(None, None, None))

    def araw(self) -> Any:
        raise NotImplementedError

    def is_open(self) -> bool:
        with self.raw() as raw:
            return bool(self.runner.run(raw.fetchval("SELECT 1")) == 1)


class AsyncpgPool(AsyncApplication):
    async def aopen(self, size: int) -> None:
        self.handed = await asyncpg.create_pool(self.url, min_size=0, max_size=size)

    def araw(self) -> Any:
        return self.handed.acquire()

    def out(self) -> int:
        return int(self.handed.get_size() - self.handed.get_idle_size())


class AsyncEngine(AsyncApplication):
    library = "asyncpg"

    async def aopen(self, size: int) -> None:
        address = self.url.replace("postgresql:", f"postgresql+{self.library}:")
        self.handed = create_async_engine(address, pool_size=size, max_overflow=0)

    @contextlib.asynccontextmanager
    async def araw(self) -> AsyncIterator[Any]:
        async with self.handed.connect() as connection:
            yield _Fetching((await connection.get_raw_connection()).driver_connection)

    def out(self) -> int:
        return int(self.handed.pool.checkedout())

    async def aclose(self) -> None:
        await self.handed.dispose()


class AsyncEngine3(AsyncEngine):
    library = "psycopg"


class _Fetching:
    """A driver's connection with asyncpg's ``fetchval``."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def fetchval(self, sql: str) -> Any:
        if hasattr(self._raw, "fetchval"):
            return await self._raw.fetchval(sql)
        async with self._raw.cursor() as cursor:
            await cursor.execute(sql)
            return (await cursor.fetchone())[0]


ASYNC_APPLICATIONS: dict[str, type[AsyncApplication]] = {
    "asyncpg-pool": AsyncpgPool,
    "async-engine-asyncpg": AsyncEngine,
    "async-engine-psycopg": AsyncEngine3,
}
