"""The rights that docs/how-to/outbox.md grants are enough, for real roles that have no others."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from rmqpool import Publisher, Queue
from rmqpool.outbox import Inbox, Outbox, Relay, Tables
from rmqpool.outbox.inspection import dead_rows, stalled_keys, status
from rmqpool.outbox.inspection_health import health
from rmqpool.outbox.migrations import check_version, migrate
from rmqpool.outbox.repair import prune, replay, skip
from rmqpool.outbox.rights import Purpose, grants, missing_grants
from rmqpool.testing.passwords import new_password
from rmqpool.testing.waiting import wait_until

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "outbox.md"
TABLES = ("outbox", "held", "stalled", "scheduled", "dead")


@pytest.fixture
def roles(postgres_url: str) -> Iterator[dict[str, str]]:
    """The page's roles, by their names there: URLs of roles of the test's own. They are gone afterwards."""
    suffix, password = uuid.uuid4().hex[:8], new_password()
    names = ("shop_service", "shop_relay", "shop_worker", "shop_operator")
    given = psycopg.conninfo.conninfo_to_dict(postgres_url)
    host = f"{given['host']}:{given['port']}/{given['dbname']}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        for name in names:
            admin.execute(f"CREATE ROLE {name}_{suffix} LOGIN PASSWORD '{password}'")
        yield {name: f"postgresql://{name}_{suffix}:{password}@{host}" for name in names}
        for name in names:
            admin.execute(f"DROP OWNED BY {name}_{suffix}")
            admin.execute(f"DROP ROLE {name}_{suffix}")


def test_the_rights_of_the_page_on_the_outbox_are_enough(
    roles: dict[str, str], postgres_url: str, vhost_url: str, queue_name: str
) -> None:
    """Each role does all that it is for: write, relay (with failures, schedule, strict order), handle, repair."""
    (grants,) = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for name, url in roles.items():
        grants = grants.replace(name, str(psycopg.conninfo.conninfo_to_dict(url)["user"]))
    with psycopg.connect(postgres_url) as admin:
        migrate(admin, Tables())
        admin.execute(grants)
    purposes: tuple[tuple[str, Purpose], ...] = (
        ("shop_service", "write"), ("shop_relay", "relay"), ("shop_worker", "handle"), ("shop_operator", "operate")
    )  # fmt: skip
    for name, purpose in purposes:
        with psycopg.connect(roles[name], autocommit=True) as connection:
            check_version(connection, Tables())
            assert migrate(connection, Tables()) == []
            assert missing_grants(connection, Tables(), purpose) == []
    outbox = Outbox()
    with Publisher(vhost_url, declare=[Queue(queue_name)]) as publisher, ExitStack() as stack:
        publisher.publish(queue_name, b"so that it is declared")
        service, operator, observer = (
            stack.enter_context(psycopg.connect(url))
            for url in (roles["shop_service"], roles["shop_operator"], postgres_url)
        )
        operator.autocommit = observer.autocommit = True
        with service.transaction():
            outbox.publish(service, queue_name, 1, key="a")
            outbox.publish(service, queue_name, 2, delay=0.1)
            outbox.publish_many(service, f"not-{queue_name}", [3, 4, 5], key="b")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            service.execute("SELECT body FROM rmqpool_outbox")
        service.rollback()

        def counts() -> tuple[int, ...] | None:
            sql = "SELECT {}".format(", ".join(f"(SELECT count(*) FROM rmqpool_{name})" for name in TABLES))
            return observer.execute(sql.encode()).fetchone()

        with Relay(vhost_url, roles["shop_relay"], max_attempts=2) as relay:
            wait_until(lambda: counts() == (0, 0, 0, 0, 3), "three dead rows", timeout=30)
            assert relay.stats().trouble == ""
        found = dead_rows(operator, Tables())
        assert replay(operator, Tables(), dead=[found[0].id]).dead == 1
        with Relay(vhost_url, roles["shop_relay"], max_attempts=99) as relay:
            wait_until(lambda: counts() == (0, 1, 1, 0, 2), "a stalled row", timeout=30)
            assert len(stalled_keys(operator, Tables())) == 1
            assert status(operator, Tables()).relays[0].name == relay.name
        assert health(operator, Tables()).sees_all
        assert replay(operator, Tables(), stalls=["key:b"]).stalled == 1
        assert skip(operator, Tables(), "key:b").left == 0
        with service.transaction():
            outbox.publish(service, queue_name, 6)
        with Relay(vhost_url, roles["shop_relay"], order="strict"):
            wait_until(lambda: counts() == (0, 0, 0, 0, 3), "an outbox in order", timeout=30)
        inbox = Inbox(roles["shop_worker"])
        for times in (1, 2):
            with inbox.transaction("orders", "a message") as transaction:
                assert (transaction is not None) == (times == 1)
        inbox.close()
        pruned = prune(operator, Tables(), inbox_older_than=timedelta(0), dead_older_than=timedelta(0))
        assert (pruned.inbox, pruned.dead) == (1, 3)


def test_what_a_role_is_told_to_grant_is_what_it_lacks(roles: dict[str, str], postgres_url: str) -> None:
    """Each statement, and no other; when the owner has run them nothing is lacking."""
    purposes: dict[Purpose, str] = {
        "write": "shop_service", "relay": "shop_relay", "handle": "shop_worker", "operate": "shop_operator"
    }  # fmt: skip
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        for tables in (Tables(), Tables('my "own" schema', "it's %")):
            migrate(admin, tables)
            for purpose, name in purposes.items():
                with psycopg.connect(roles[name], autocommit=True) as connection:
                    told = missing_grants(connection, tables, purpose)
                    assert told == grants(tables, purpose, connection.info.user)
                    while told:
                        admin.execute(told[0].encode())
                        rest = missing_grants(connection, tables, purpose)
                        assert rest == told[1:]
                        told = rest
