"""The fixtures of the pytest plugin, as a user's test suite has them: in a pytest of its own, with a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(300)  # four starts of a broker

SUITE = """
import pytest
from rmqpool import NotSentError, Publisher, Queue, Reject, UnknownOutcomeError, UnroutableError, Worker
from rmqpool.testing.waiting import wait_until

vhosts = []


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_virtual_host_of_its_own(rmqpool_url, rmqpool_vhost, rmqpool_broker, turn):
    assert rmqpool_vhost not in vhosts
    vhosts.append(rmqpool_vhost)
    with Publisher(rmqpool_url, declare=[Queue("orders")]) as publisher:
        publisher.publish("orders", {})
        with publisher.pool.channel() as channel:
            assert channel.queue_declare("orders", passive=True).message_count == 1


def test_a_queue_of_another_test_is_not_there(rmqpool_url):
    with Publisher(rmqpool_url) as publisher, pytest.raises(UnroutableError):
        publisher.publish("orders", {})


def test_what_was_published_is_seen(rmqpool_url, rmqpool_published):
    with Publisher(rmqpool_url, declare=[Queue("orders")]) as publisher:
        publisher.publish("orders", {"id": 7}, headers={"tenant": "a"})
        publisher.publish_many("orders", [{"id": 8}, {"id": 9}])
        publisher.publish_to("amq.topic", "order.new", "text", mandatory=False)
        with pytest.raises(UnroutableError):
            publisher.publish("nowhere", {})
    assert [sent.body for sent in rmqpool_published.to("orders")] == [{"id": 7}, {"id": 8}, {"id": 9}]
    assert rmqpool_published.to("orders")[0].message.headers == {"tenant": "a"}
    assert [sent.outcome for sent in rmqpool_published.to_exchange("amq.topic", "order.*")] == ["confirmed"]
    assert [sent.outcome for sent in rmqpool_published.to("nowhere")] == ["returned"]
    assert len(rmqpool_published) == 5


def test_a_worker_runs_beside_the_test(rmqpool_url, rmqpool_worker_thread, rmqpool_published):
    worker, mails = Worker("shop"), []

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        if order["id"] == 0:
            raise Reject("no order")
        publisher.publish("mails", {"order": order["id"]})

    with Publisher(rmqpool_url, declare=[Queue("mails")]) as publisher:
        running = rmqpool_worker_thread(worker)
        publisher.publish("orders", {"id": 0})
        publisher.publish("orders", {"id": 7})
        running.wait_handled(1)
        assert [sent.body for sent in rmqpool_published.wait_for("mails")] == [{"order": 7}]
        assert rmqpool_published.wait_for("orders.dead")[0].message.headers["x-rmqpool-reason"] == "rejected:no order"
    assert worker.consumers[0].middleware != ()


def test_an_expected_failure_is_taken(rmqpool_url, rmqpool_worker_thread):
    worker = Worker("shop")

    @worker.consumer("orders")
    async def handle(order: dict) -> None:
        raise ValueError("no stock")

    running = rmqpool_worker_thread(worker)
    with Publisher(rmqpool_url) as publisher:
        publisher.publish("orders", {})
        publisher.publish("orders", "no dict", content_type="application/json")
    with pytest.raises(BaseException, match="no stock|messages failed|dict"):
        running.wait_handled(1)
    wait_until(lambda: worker.stats().parked == 2, "both to be parked", timeout=5)
    running.take_failures()


def test_the_network_may_fail(rmqpool_proxy, rmqpool_proxy_url):
    with Publisher(rmqpool_proxy_url, declare=[Queue("orders")]) as publisher:
        publisher.publish("orders", {"id": 0})
        cut = rmqpool_proxy.cut("basic.ack")
        assert publisher.publish("orders", {"id": 1}, timeout=10).attempts == 2
        assert cut.fired
        rmqpool_proxy.refuse()
        rmqpool_proxy.reset()
        wait_until(lambda: not rmqpool_proxy.connections, "the reset", timeout=5)
        with pytest.raises((NotSentError, UnknownOutcomeError)):
            publisher.publish("orders", {"id": 2}, timeout=0.2)


def test_a_broker_may_be_blocked_and_killed(rmqpool_fragile_broker):
    node = rmqpool_fragile_broker
    with Publisher(node.amqp_url(), declare=[Queue("orders")]) as publisher:
        publisher.publish("orders", {})
        node.sync_queues()
        node.raise_memory_alarm()
        with pytest.raises(Exception, match="blocked|confirm"):
            publisher.publish("orders", {}, timeout=0.5)
        node.clear_memory_alarm()
        node.kill()
        node.start()
        publisher.publish("orders", {}, timeout=20)


def test_a_node_may_have_a_configuration_of_its_own(rmqpool_broker_factory):
    node = rmqpool_broker_factory({"consumer_timeout": "123456"})
    assert node.eval("application:get_env(rabbit, consumer_timeout)") == "{ok,123456}"
"""

FAILING = """
import time
from rmqpool import Publisher, Queue, Worker

def fail(url, running, body):
    with Publisher(url) as publisher:
        publisher.publish("orders", body)

def worker_of(function):
    worker = Worker("shop")
    worker.consumer("orders")(function)
    return worker

def test_waits_for_what_fails(rmqpool_url, rmqpool_worker_thread, rmqpool_published):
    def handle(order: dict) -> None:
        raise ValueError("no stock at all")
    running = rmqpool_worker_thread(worker_of(handle))
    fail(rmqpool_url, running, {})
    running.wait_handled(1)

def test_does_not_look(rmqpool_url, rmqpool_worker_thread):
    def handle(order: dict) -> None:
        raise KeyError("nobody looked")
    worker = worker_of(handle)
    fail(rmqpool_url, rmqpool_worker_thread(worker), {})
    while not worker.stats().parked:
        time.sleep(0.01)

def test_waits_in_vain(rmqpool_url, rmqpool_worker_thread):
    rmqpool_worker_thread(worker_of(lambda order: None)).wait_handled(1, timeout=0.2)
"""

LEAVING = """
import pytest
from rmqpool import ConnectionPool, ResourcePool


@pytest.fixture(scope="module")
def resources():
    with ResourcePool(object) as pool:
        yield pool


def test_keeps_a_resource(resources):
    kept_resources.append(resources.acquire())


def test_gives_back_a_resource(resources):
    with resources.lease():
        pass


@pytest.fixture(scope="module")
def pool(rmqpool_broker):
    with ConnectionPool(rmqpool_broker.amqp_url()) as pool:
        yield pool


@pytest.fixture(scope="module")
def channel(pool):
    with pool.channel() as channel:
        yield channel


@pytest.fixture
def lease(pool):
    leases = []
    yield lambda: leases.append(pool.channel()) or leases[-1]
    for lease in leases:
        lease.release()


def test_keeps_one(pool):
    kept.append(pool.channel())  # still there when the test has ended


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_drops_one(pool):
    pool.channel().queue_declare("orders")


@pytest.mark.rmqpool_leaves_leases
def test_may_keep_one(pool):
    kept.append(pool.channel())


def test_releases_what_it_leases(pool, channel, lease):
    with pool.channel() as mine:
        assert mine.is_open and channel.is_open
    assert lease().is_open


def test_closes_its_pool(rmqpool_url):
    with ConnectionPool(rmqpool_url) as own:
        ended.append(own.channel())


def test_fails_by_itself(pool):
    kept.append(pool.channel())
    raise RuntimeError("its own trouble")


kept, ended, kept_resources = [], [], []


def test_zz_tidy_up():
    for channel in kept + ended:
        channel.release()
"""

# A pytest without plugins but ours, with warnings as errors.
INI = "[pytest]\naddopts = -p rmqpool.testing.plugin -p no:cacheprovider\nfilterwarnings = error\n"
ALONE = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
}


@dataclass(frozen=True)
class Ran:
    """What became of the tests of each file, by name ("passed", "failed", "failed in its teardown"), and what was told."""

    outcomes: dict[str, dict[str, str]]
    told: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The three in one run: they share its broker, and the start of its Python."""
    folder = tmp_path_factory.mktemp("users_tests")
    for name, text in {"works": SUITE, "fails": FAILING, "leaves": LEAVING}.items():
        (folder / f"test_{name}.py").write_text(text)
    (folder / "pytest.ini").write_text(INI)
    command = [sys.executable, "-m", "pytest", "--junitxml=outcomes.xml"]
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | ALONE, capture_output=True, text=True, timeout=280, check=False
    )
    outcomes: dict[str, dict[str, str]] = {}
    for case in ElementTree.parse(folder / "outcomes.xml").iter("testcase"):
        which = {"failure": "failed", "error": "failed in its teardown"}
        became = [which[one.tag] for one in case if one.tag in which]
        outcomes.setdefault(case.attrib["classname"].removeprefix("test_"), {})[case.attrib["name"]] = (
            "".join(became) or "passed"
        )
    return Ran(outcomes, ended.stdout + ended.stderr)


def test_the_fixtures_do_what_they_say(ran: Ran) -> None:
    """Broker, virtual hosts, capture, workers, proxy, a broker to break, one with a configuration: four starts of a broker."""
    assert set(ran.outcomes["works"].values()) == {"passed"}, ran.told
    assert len(ran.outcomes["works"]) == SUITE.count("\ndef test_") + 1


def test_what_fails_in_a_worker_fails_its_test(ran: Ran) -> None:
    """At the wait, or at the end of a test that did not look; with what was published, and the worker's figures."""
    assert ran.outcomes["fails"] == {
        "test_waits_for_what_fails": "failed",
        "test_does_not_look": "failed in its teardown",
        "test_waits_in_vain": "failed",
    }, ran.told
    pytest.LineMatcher(ran.told.splitlines()).fnmatch_lines_random(
        [
            "E * ValueError: no stock at all",
            "*rmqpool: published*",
            "(default) → orders: *, 2 bytes, confirmed",
            "E * KeyError: 'nobody looked'",
            "E * Waited 0.2 s in vain for 1 handled messages. <Worker 'shop' running on orders: 0 handled, *",
        ]
    )


def test_a_test_that_leaves_a_lease_fails(ran: Ran) -> None:
    """Kept or dropped, told where it was borrowed; not what a fixture leased, gives back, or ended with its pool; and not
    when the test failed by itself, or is marked."""
    others = {name: became for name, became in ran.outcomes["leaves"].items() if became != "passed"}
    assert others == {
        "test_keeps_a_resource": "failed in its teardown",
        "test_keeps_one": "failed in its teardown",
        "test_drops_one": "failed in its teardown",
        "test_fails_by_itself": "failed",
    }, ran.told
    assert len(ran.outcomes["leaves"]) == 9
    assert ran.told.count("\na lease was not released, borrowed") == 3  # the summary may repeat it
    assert "kept_resources.append(resources.acquire())" in ran.told
    assert "kept.append(pool.channel())  # still there" in ran.told
    assert 'pool.channel().queue_declare("orders")' in ran.told
    assert "its own trouble" in ran.told


def test_the_plugin_costs_no_import(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that uses none of its fixtures loads neither pika nor asyncio for it."""
    for name, text in ALONE.items():
        monkeypatch.setenv(name, text)
    pytester.makeini(INI)
    pytester.makepyfile(
        "import sys\ndef test_lean():\n    assert not {'pika', 'kombu', 'rmqpool.pool', 'rmqpool.worker'} & set(sys.modules)\n"
    )
    pytester.runpytest_subprocess(timeout=60).assert_outcomes(passed=1)


def test_the_entry_point_is_the_plugin() -> None:
    """What pyproject.toml names can be imported, and pytest is an extra: the library does without."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module = project["entry-points"]["pytest11"]["rmqpool"]
    subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, check=True, timeout=30)
    assert not any(requirement.startswith("pytest") for requirement in project["dependencies"])
    assert project["optional-dependencies"]["testing"][0].startswith("pytest")
