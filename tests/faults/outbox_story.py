"""What the outbox' fault tests share: writers that commit and roll back, and the judgement over what arrived.

Writers of one key wait for each other on the key's row, as a service that locks its aggregate does, and number their
messages: so the order that was promised can be checked at the other end.

Writers hurry up to what the test waits for and `LEAD` beyond it, so that what the test does next meets a full load. Further
ahead, while a process or a node starts, they go on at leisure: thousands of rows more would show nothing more.
"""

from __future__ import annotations

import json
import random
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pika
import psycopg
from prepared import Forked, Prepared

from faults.processes import fork_program
from rmqpool import Publisher, Queue
from rmqpool.outbox import Outbox, Tables
from rmqpool.outbox.migrations import migrate
from rmqpool.testing.checker import TotalQueueChecker, Verdict
from rmqpool.testing.waiting import wait_until

__all__ = ["Story", "relay_process"]

KEYS = 20
LEAD = 100  # commits
LEISURE = 0.1  # seconds between two transactions of a writer that is further ahead


class Story:
    """One queue, one database, writers, and the judgement. A context manager: it ends the writers."""

    def __init__(
        self, amqp: str, database: str, queue: str, *, seed: int = 1, writers_database: str | None = None
    ) -> None:
        self.amqp = amqp
        self.database = database
        self._writers_database = writers_database or database
        self.queue = queue
        self.checker = TotalQueueChecker()
        self.ids: dict[str, int] = {}  # message id -> the row's id, of what was committed
        self.outbox = Outbox()
        self.arrived: list[tuple[str, str, int]] = []  # message id, key, number
        self._seed = seed
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._errors: list[BaseException] = []
        self.committed = 0
        self._wanted = 0
        self._hurry = threading.Event()
        with Publisher(amqp, declare=[Queue(queue, dead_letter=False)]) as publisher:
            publisher.publish(queue, b"", message_id="first")
        with psycopg.connect(database) as connection:
            migrate(connection, Tables())
            connection.execute("CREATE TABLE aggregates (key text PRIMARY KEY, number int NOT NULL)")
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO aggregates VALUES (%s, 0)", [(f"key-{n}",) for n in range(KEYS)])

    def write(self, writers: int = 12, *, rollbacks: float = 0.1, longest: float = 0.01) -> None:
        """Start so many writers; `longest` is the seconds that a transaction stays open at most."""
        for number in range(writers):
            thread = threading.Thread(
                target=self._run, args=(random.Random(self._seed * 1000 + number), rollbacks, longest), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def wait_for_committed(self, count: int, timeout: float = 60.0) -> None:
        """Wait until so many more were committed."""
        with self._lock:
            wanted = self._wanted = self.committed + count
            self._hurry.set()
        wait_until(lambda: self._errors or self.committed >= wanted, f"{wanted} commits", timeout=timeout)

    def stop_writing(self) -> None:
        """End the writers; raises what they did not expect."""
        self._stop()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a writer hangs"
        if self._errors:
            raise self._errors[0]

    def wait_until_empty(self, timeout: float = 60.0) -> None:
        """Wait until the outbox holds nothing: everything was published."""

        def is_empty() -> bool:
            with psycopg.connect(self.database, autocommit=True) as connection:
                row = connection.execute(
                    "SELECT (SELECT count(*) FROM rmqpool_outbox) + (SELECT count(*) FROM rmqpool_held)"
                ).fetchone()
            return row == (0,)

        wait_until(is_empty, "an empty outbox", timeout=timeout)

    def judge(self) -> Verdict:
        """Drain the queue: nothing lost, nothing that was rolled back."""
        with closing(pika.BlockingConnection(pika.URLParameters(self.amqp))) as connection:
            channel = connection.channel()
            for method, properties, body in _all_messages(channel, self.queue):
                if properties.message_id == "first":
                    continue
                content = json.loads(body)
                self.checker.record_delivery(properties.message_id, method.redelivered)
                self.arrived.append((properties.message_id, content["key"], content["number"]))
            assert channel.basic_get(self.queue)[0] is None, "more is in the queue than it counted"
        verdict = self.checker.verdict()
        verdict.raise_if_wrong()
        return verdict

    def assert_order_of_keys(self) -> None:
        """The first copies of each key's messages came in the order in which they were written."""
        numbers: dict[str, list[int]] = defaultdict(list)
        seen: set[str] = set()
        for message_id, key, number in self.arrived:
            if message_id not in seen:
                seen.add(message_id)
                numbers[key].append(number)
        for key, found in numbers.items():
            assert found == sorted(found), f"{key} came as {found[:50]}"

    def assert_one_order(self) -> None:
        """The first copies of all messages came in the order of their rows' ids."""
        seen: dict[str, int] = {}
        for message_id, _, _ in self.arrived:
            seen.setdefault(message_id, self.ids.get(message_id, -1))
        ids = [row_id for row_id in seen.values() if row_id >= 0]
        assert ids == sorted(ids)

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        for thread in self._threads:
            thread.join(30)

    def _stop(self) -> None:
        self._stopping.set()
        self._hurry.set()

    def _run(self, chance: random.Random, rollbacks: float, longest: float) -> None:
        connection: psycopg.Connection[Any] | None = None
        try:
            while not self._stopping.is_set():
                try:
                    if connection is None or connection.closed:
                        connection = psycopg.connect(self._writers_database, connect_timeout=5, prepare_threshold=None)
                    self._write_one(connection, chance, rollbacks, longest)
                    self._hurry.wait(LEISURE)
                except psycopg.Error:  # the server is being restarted under the writers too
                    if connection is not None:
                        connection.close()
                    self._stopping.wait(0.1)
        except BaseException as error:
            self._errors.append(error)
        finally:
            if connection is not None:
                connection.close()

    def _write_one(
        self, connection: psycopg.Connection[Any], chance: random.Random, rollbacks: float, longest: float
    ) -> None:
        key = f"key-{chance.randrange(KEYS)}"
        row = connection.execute(
            "UPDATE aggregates SET number = number + 1 WHERE key = %s RETURNING number", [key]
        ).fetchone()
        assert row is not None
        message_id = self.outbox.publish(connection, self.queue, {"key": key, "number": row[0]}, key=key)
        row_id = connection.execute("SELECT currval(pg_get_serial_sequence('rmqpool_outbox', 'id'))").fetchone()
        assert row_id is not None
        self._stopping.wait(chance.uniform(0, longest))  # how long other work of the transaction takes
        self.checker.record_attempt(message_id)
        try:
            if chance.random() < rollbacks:
                connection.rollback()
                self.checker.record_publish(message_id, "not_sent")
                return
            connection.commit()
        except psycopg.Error:
            self.checker.record_publish(message_id, "unknown")  # the answer to the commit was lost
            raise
        self.checker.record_publish(message_id, "confirmed")
        with self._lock:
            self.committed += 1
            self.ids[message_id] = int(row_id[0])
            if self.committed >= self._wanted + LEAD and not self._stopping.is_set():
                self._hurry.clear()


def _all_messages(channel: Any, queue: str) -> Iterator[tuple[Any, Any, bytes]]:
    """What is in a queue that nobody else uses any more, in order. Not got one by one, which costs milliseconds each."""
    count = channel.queue_declare(queue, passive=True).method.message_count
    if count:
        for number, message in enumerate(channel.consume(queue, auto_ack=True, inactivity_timeout=30), start=1):
            assert message[0] is not None, f"{count} messages were counted, and no more than {number - 1} came"
            yield message
            if number == count:
                break
        assert channel.get_waiting_message_count() == 0, "more came than the queue counted"
        channel.cancel()


@contextmanager
def relay_process(
    prepared: Prepared, story: Story, point: str = "never", passes: int = 0, **options: Any
) -> Iterator[Forked]:
    """A relay in a process of its own, started; at the end of the block it is gone."""
    arguments = (story.amqp, story.database, json.dumps(options), point, passes)
    with fork_program(prepared, "relay", *arguments) as process:
        line = process.stdout.readline()  # ends with the process
        assert '"started"' in line or process.wait(10) == -signal.SIGKILL, line
        yield process
