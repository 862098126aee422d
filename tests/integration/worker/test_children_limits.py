"""What a child may take: time, memory, messages. Whoever takes more is told, or replaced."""

from rmqpool import headers as names
from tests.integration.worker import child_handlers as handlers
from tests.integration.worker.processes import children_of

MIB = 1 << 20


def pids(lines):
    """The processes that handled, in the order of the messages."""
    return [line.split()[1] for line in lines()]


def test_the_time_limit_is_an_exception_in_the_handler(bench, lines):
    """Also in a loop that does nothing but compute; the message is parked, the child goes on with the next."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1, time_limit=0.5)(handlers.slow)
    worker.start()
    for number, way in enumerate(["busy", "sleep", "nothing"]):
        bench.publisher.publish("orders", {"id": number, "do": way, "file": lines.file})
    bench.wait(lambda: worker.stats().parked == 2 and worker.stats().handled == 1)
    assert (worker.stats().timed_out, worker.stats().failed, worker.stats().children_died) == (2, 2, 0)
    assert len({line.split()[2] for line in lines()}) == 1
    parked = bench.take("orders.dead")
    assert parked.headers[names.REASON] == "time-limit"
    assert parked.headers[names.EXCEPTION_TYPE] == "rmqpool.errors.TimeLimitExceededError"
    assert "in slow" in parked.headers[names.EXCEPTION_TRACEBACK]


def test_the_hard_limit_kills_a_handler_that_swallows_the_exception(bench, lines):
    """The child is replaced, and its message parked without a second try: it would take as long again."""
    worker = bench.worker()
    limits = {"time_limit": 0.3, "hard_time_limit": 1}
    worker.consumer("orders", executor="process", concurrency=1, **limits)(handlers.slow)
    worker.start()
    bench.publisher.publish("orders", {"id": 1, "do": "stubborn", "file": lines.file})
    bench.publisher.publish("orders", {"id": 2, "file": lines.file})
    bench.wait(lambda: worker.stats().parked == 1 and worker.stats().handled == 1)
    assert (worker.stats().timed_out, worker.stats().children_died, worker.stats().poisoned) == (1, 1, 0)
    assert [line.split()[0] for line in lines()] == ["begun", "swallowed", "begun", "ended"]
    assert bench.take("orders.dead").headers[names.REASON] == "time-limit:hard"


def test_a_message_over_the_hard_limit_again_and_again_is_poison(bench, lines):
    """With on_error="requeue" it comes again, but kills no more children than one message may."""
    worker = bench.worker()
    limits = {"hard_time_limit": 0.5, "on_error": "requeue"}
    worker.consumer("orders", executor="process", concurrency=1, **limits)(handlers.slow)
    worker.start()
    bench.publisher.publish("orders", {"id": 1, "do": "sleep", "file": lines.file})
    bench.wait(lambda: worker.stats().parked == 1)
    assert (worker.stats().children_died, worker.stats().poisoned, worker.stats().requeued) == (2, 1, 1)
    assert bench.take("orders.dead").headers[names.REASON] == "time-limit:hard"


def test_a_child_is_replaced_after_so_many_messages(bench, lines):
    """Two each, in good order: nothing fails, and nothing of the old one is left."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1, recycle_after=2)(handlers.told)
    worker.start()
    bench.publisher.publish_many("orders", [{"id": n, "file": lines.file} for n in range(6)]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 6)
    used = pids(lines)
    assert [used[0], used[2], used[4]] == [used[1], used[3], used[5]]
    assert len(set(used)) == 3
    assert (worker.stats().children_recycled, worker.stats().children_died) == (3, 0)
    bench.wait_empty(worker, "orders", "orders.dead")
    assert children_of() == []


def test_more_memory_than_the_limit_is_a_memory_error(bench, lines):
    """The message fails, the child is replaced; the next message is handled."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1, memory_limit=256 * MIB)(handlers.verdict)
    worker.start()
    bench.publisher.publish("orders", {"id": 1, "do": "memory"})
    bench.publisher.publish("orders", {"id": 2, "do": "nothing", "file": lines.file})
    bench.wait(lambda: worker.stats().parked == 1 and worker.stats().handled == 1)
    assert bench.take("orders.dead").headers[names.EXCEPTION_TYPE] == "MemoryError"
    assert (worker.stats().children_recycled, worker.stats().children_died) == (1, 0)


def test_a_child_that_leaks_is_replaced_before_a_message_fails(bench, lines):
    """At four fifths of its memory limit, between two messages."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1, memory_limit=256 * MIB)(handlers.verdict)
    worker.start()
    orders = [{"id": n, "do": "hoard", "file": lines.file} for n in range(24)]  # 576 MiB
    bench.publisher.publish_many("orders", orders).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 24, timeout=20)
    assert 2 <= worker.stats().children_recycled <= 6
    assert (worker.stats().failed, worker.stats().children_died) == (0, 0)


def test_a_coroutine_function_of_the_worker_itself_has_a_time_limit(bench):
    """On the worker's loop: cancelled, and parked with the reason; its own TimeoutError stays what it is."""
    import asyncio

    worker = bench.worker()

    @worker.consumer("orders", time_limit=0.3)
    async def handle(order: dict) -> None:
        if order["own"]:
            raise TimeoutError("its own")
        await asyncio.sleep(30)

    worker.start()
    bench.publisher.publish_many("orders", [{"own": True}, {"own": False}]).raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 2)
    reasons = {bench.take("orders.dead").headers[names.REASON] for _ in range(2)}
    assert reasons == {"exception", "time-limit"}
    assert worker.stats().timed_out == 1
