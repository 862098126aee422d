"""One client for each library that the outbox writes through, all with the same few methods."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import psycopg
import psycopg2
import sqlalchemy
from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.utils import ConnectionHandler
from django.utils.connection import ConnectionProxy
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from rmqpool.outbox import AsyncOutbox, Outbox, Tables

__all__ = ["CLIENTS", "Client"]


class Client:
    """A connection of one library, in a transaction from ``begin`` on. ``handed`` is what the outbox is given."""

    handed: Any

    def __init__(self, url: str) -> None:
        self.url = url

    def begin(self) -> None:
        """Begin a transaction, where the library does not do so by itself."""

    def commit(self) -> None:
        self.handed.commit()

    def rollback(self) -> None:
        self.handed.rollback()

    def execute(self, sql: str) -> None:
        """Run one statement without parameters."""
        raise NotImplementedError

    def autocommit(self) -> None:
        """Put ``handed`` into autocommit; called instead of ``begin``."""
        raise NotImplementedError

    def write(self, tables: Tables | None, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of an outbox with ``handed``."""
        return getattr(Outbox(tables), method)(self.handed, *arguments, **options)

    def publish(self, *arguments: Any, tables: Tables | None = None, **options: Any) -> str:
        return str(self.write(tables, "publish", *arguments, **options))

    def publish_to(self, *arguments: Any, tables: Tables | None = None, **options: Any) -> str:
        return str(self.write(tables, "publish_to", *arguments, **options))

    def publish_many(self, *arguments: Any, tables: Tables | None = None, **options: Any) -> list[str]:
        return list(self.write(tables, "publish_many", *arguments, **options))

    def close(self) -> None:
        self.handed.close()


class Psycopg(Client):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.handed = psycopg.connect(url)

    def execute(self, sql: str) -> None:
        self.handed.execute(sql)

    def autocommit(self) -> None:
        self.handed.autocommit = True


class Psycopg2(Client):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.handed = psycopg2.connect(url)

    def execute(self, sql: str) -> None:
        with self.handed.cursor() as cursor:
            cursor.execute(sql)

    def autocommit(self) -> None:
        self.handed.autocommit = True


class SQLAlchemyConnection(Client):
    library = "psycopg"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.engine = self.make_engine()
        self.handed = self.make(self.engine)

    def make_engine(self, **options: Any) -> sqlalchemy.Engine:
        address = self.url.replace("postgresql:", f"postgresql+{self.library}:")
        return sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool, **options)

    def make(self, engine: sqlalchemy.Engine) -> Any:
        return engine.connect()

    def execute(self, sql: str) -> None:
        self.handed.execute(sqlalchemy.text(sql))

    def autocommit(self) -> None:
        self.close()
        self.engine = self.make_engine(isolation_level="AUTOCOMMIT")
        self.handed = self.make(self.engine)

    def close(self) -> None:
        self.handed.close()
        self.engine.dispose()


class SQLAlchemyConnection2(SQLAlchemyConnection):
    library = "psycopg2"


class SQLAlchemySession(SQLAlchemyConnection):
    def make(self, engine: sqlalchemy.Engine) -> Any:
        return Session(engine)


class SQLAlchemyScopedSession(SQLAlchemyConnection2):
    def make(self, engine: sqlalchemy.Engine) -> Any:
        return scoped_session(sessionmaker(engine))

    def close(self) -> None:
        self.handed.remove()
        self.engine.dispose()


class Django(Client):
    alias = "rmqpool_tests"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        if not settings.configured:
            settings.configure(USE_TZ=True)
        apps.populate(settings.INSTALLED_APPS)
        parts = conninfo_to_dict(url)
        names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
        database: dict[str, Any] = {name: parts.get(part, "") for name, part in names.items()}
        database["ENGINE"] = "django.db.backends.postgresql"
        connections.settings[self.alias] = ConnectionHandler({"default": database}).settings["default"]
        self.handed = self.make()

    def make(self) -> Any:
        return connections[self.alias]

    def begin(self) -> None:
        self.handed.set_autocommit(False)

    def execute(self, sql: str) -> None:
        with self.handed.cursor() as cursor:
            cursor.execute(sql)

    def autocommit(self) -> None:
        """Django's connections are in autocommit outside of transactions."""

    def close(self) -> None:
        self.handed.close()
        del connections[self.alias], connections.settings[self.alias]


class DjangoProxy(Django):
    """As ``django.db.connection``."""

    def make(self) -> Any:
        return ConnectionProxy(connections, self.alias)


class AsyncClient(Client):
    """A client whose methods are awaited in an event loop of its own."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.runner = asyncio.Runner()
        self.runner.run(self.open())

    async def open(self) -> None:
        raise NotImplementedError

    def begin(self) -> None:
        self.runner.run(self.abegin())

    async def abegin(self) -> None: ...

    def execute(self, sql: str) -> None:
        self.runner.run(self.aexecute(sql))

    async def aexecute(self, sql: str) -> None:
        await self.handed.execute(sql)

    def commit(self) -> None:
        self.runner.run(self.handed.commit())

    def rollback(self) -> None:
        self.runner.run(self.handed.rollback())

    def write(self, tables: Tables | None, method: str, *arguments: Any, **options: Any) -> Any:
        return self.runner.run(getattr(AsyncOutbox(tables), method)(self.handed, *arguments, **options))

    def close(self) -> None:
        try:
            self.runner.run(self.aclose())
        finally:
            self.runner.close()

    async def aclose(self) -> None:
        await self.handed.close()


class AsyncPsycopg(AsyncClient):
    async def open(self) -> None:
        self.handed = await psycopg.AsyncConnection.connect(self.url)

    def autocommit(self) -> None:
        self.runner.run(self.handed.set_autocommit(True))


class Asyncpg(AsyncClient):
    async def open(self) -> None:
        self.handed = await asyncpg.connect(self.url)

    async def abegin(self) -> None:
        self.transaction = self.handed.transaction()
        await self.transaction.start()

    def autocommit(self) -> None:
        """asyncpg's connections are in autocommit outside of transactions."""

    def commit(self) -> None:
        self.runner.run(self.transaction.commit())

    def rollback(self) -> None:
        self.runner.run(self.transaction.rollback())


class AsyncpgOfAPool(Asyncpg):
    async def open(self) -> None:
        self.pool = await asyncpg.create_pool(self.url, min_size=1, max_size=1)
        self.handed = await self.pool.acquire()

    async def aclose(self) -> None:
        await self.pool.release(self.handed)
        await self.pool.close()


class SQLAlchemyAsyncConnection(AsyncClient):
    library = "asyncpg"

    async def open(self) -> None:
        await self.open_with()

    async def open_with(self, **options: Any) -> None:
        address = self.url.replace("postgresql:", f"postgresql+{self.library}:")
        self.engine = create_async_engine(address, poolclass=sqlalchemy.NullPool, **options)
        self.handed = self.make()
        if isinstance(self.handed, AsyncConnection):
            await self.handed.start()

    def make(self) -> Any:
        return self.engine.connect()

    async def aexecute(self, sql: str) -> None:
        await self.handed.execute(sqlalchemy.text(sql))

    def autocommit(self) -> None:
        self.runner.run(self.aclose())
        self.runner.run(self.open_with(isolation_level="AUTOCOMMIT"))

    async def aclose(self) -> None:
        await self.handed.close()
        await self.engine.dispose()


class SQLAlchemyAsyncConnection3(SQLAlchemyAsyncConnection):
    library = "psycopg"


class SQLAlchemyAsyncSession(SQLAlchemyAsyncConnection):
    def make(self) -> Any:
        return AsyncSession(self.engine)


class SQLAlchemyAsyncSession3(SQLAlchemyAsyncSession):
    library = "psycopg"


class SQLAlchemyAsyncScopedSession(SQLAlchemyAsyncConnection):
    def make(self) -> Any:
        return async_scoped_session(async_sessionmaker(self.engine), scopefunc=lambda: "the test")

    async def aclose(self) -> None:
        await self.handed.remove()
        await self.engine.dispose()


CLIENTS: dict[str, type[Client]] = {
    "psycopg": Psycopg,
    "psycopg2": Psycopg2,
    "sqlalchemy-connection-psycopg": SQLAlchemyConnection,
    "sqlalchemy-connection-psycopg2": SQLAlchemyConnection2,
    "sqlalchemy-session-psycopg": SQLAlchemySession,
    "sqlalchemy-scoped-session-psycopg2": SQLAlchemyScopedSession,
    "django": Django,
    "django-proxy": DjangoProxy,
    "async-psycopg": AsyncPsycopg,
    "asyncpg": Asyncpg,
    "asyncpg-of-a-pool": AsyncpgOfAPool,
    "sqlalchemy-async-connection-asyncpg": SQLAlchemyAsyncConnection,
    "sqlalchemy-async-connection-psycopg": SQLAlchemyAsyncConnection3,
    "sqlalchemy-async-session-asyncpg": SQLAlchemyAsyncSession,
    "sqlalchemy-async-session-psycopg": SQLAlchemyAsyncSession3,
    "sqlalchemy-async-scoped-session-asyncpg": SQLAlchemyAsyncScopedSession,
}
