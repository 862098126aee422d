"""``rmqpool doctor``: each thing that can be wrong is found at its stage, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rmqpool import ConnectionPool, Publisher, Queue
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.rabbitmq import RabbitMQNode
from tests.acceptance.conftest import Ended, EquippedBroker, Run

WORKER = """
from rmqpool import Queue, Worker
worker = Worker("orders")
@worker.consumer("orders", queue=Queue("orders", delivery_limit=5, max_length=1000))
def handle(body: dict) -> None: ...
"""


def stages(ended: Ended) -> dict[str, dict[str, Any]]:
    """Stage -> its finding (the worst one, if there are several)."""
    order = ["skipped", "ok", "warning", "problem"]
    return {
        finding["stage"]: finding
        for finding in sorted(ended.json["findings"], key=lambda found: order.index(found["state"]))
    }


def problems(ended: Ended) -> list[str]:
    """The stages with a problem."""
    return [finding["stage"] for finding in ended.json["findings"] if finding["state"] == "problem"]


def test_a_healthy_broker_is_well(rmqpool: Run, broker: RabbitMQNode, vhost: str, vhost_url: str) -> None:
    """Exit code 0, every stage looked at, and nothing left behind."""
    ended = rmqpool("doctor", "--url", vhost_url, "--json")
    assert ended.code == 0, ended.text
    assert ended.json["ok"] is True
    assert ended.json["broker"].startswith("RabbitMQ")
    expected = "url dns tcp amqp password vhost version heartbeat frame_max channel_max declare write read alarms pool"
    assert list(dict.fromkeys(finding["stage"] for finding in ended.json["findings"])) == expected.split()
    assert broker.list_queues(vhost) == []


def test_people_get_lines_and_a_verdict(rmqpool: Run, vhost_url: str) -> None:
    """In a pipe: words, no colour, no symbols; the password is masked."""
    ended = rmqpool("doctor", "--url", vhost_url)
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert ended.out.splitlines()[0].startswith("ok      url")
    assert ended.out.splitlines()[-1].startswith("no problem")


def test_a_wrong_url_is_a_problem_of_the_url(inline: Run) -> None:
    """Nothing is connected to; exit code 1."""
    ended = inline("doctor", "--url", "amqp://host:port/", "--json")
    assert ended.code == 1
    assert problems(ended) == ["url"]


@pytest.mark.parametrize(
    ("case", "stage", "told"),
    [
        ("password", "password", "check both"),
        ("vhost", "vhost", "add_vhost"),
        ("access", "vhost", "set_permissions"),
        ("port", "tcp", "is RabbitMQ running?"),
        ("host", "dns", "name server"),
        ("tls", "tls", "amqp://"),
    ],
)
def test_the_stage_that_fails_is_named(inline: Run, broker: RabbitMQNode, case: str, stage: str, told: str) -> None:
    """Stages before it are well, stages after it are skipped, and there is advice."""
    port = ReservedPort()
    port.release()
    if case == "access":
        broker.add_user("outsider", "outsider", vhosts=())
    url = {
        "password": broker.amqp_url(password="hunter2secret"),
        "vhost": broker.amqp_url(vhost="nowhere"),
        "access": broker.amqp_url(user="outsider", password="outsider"),
        "port": broker.amqp_url(port=port.number),
        "host": "amqp://guest:guest@no-such-host.invalid/",
        "tls": broker.amqp_url().replace("amqp://", "amqps://"),
    }[case]
    ended = inline("doctor", "--url", url, "--json")
    assert ended.code == 1
    assert problems(ended) == [stage]
    found = stages(ended)[stage]
    assert told in found["text"] + found["advice"]
    states = [finding["state"] for finding in ended.json["findings"]]
    assert "ok" not in states[states.index("problem") :]
    assert "hunter2secret" not in ended.text


def test_permissions_are_tried_one_by_one(inline: Run, broker: RabbitMQNode, vhost: str) -> None:
    """A user who may not declare; one who may not write; one who may not read."""
    told = {}
    for name, permissions in {
        "declare": ("^$", ".*", ".*"),
        "write": (".*", "^rmqpool", ".*"),
        "read": (".*", ".*", "^$"),
    }.items():
        broker.add_user(f"no-{name}", "secret", vhosts=(vhost,), permissions=permissions)
        ended = inline("doctor", "--json", "--url", broker.amqp_url(user=f"no-{name}", password="secret", vhost=vhost))
        told[name] = (ended.code, problems(ended))
        assert broker.list_queues(vhost) == []
    assert told == {"declare": (1, ["declare"]), "write": (1, ["write"]), "read": (1, ["read"])}


def test_an_alarm_is_found(rmqpool: Run, private_broker: RabbitMQNode) -> None:
    """The memory alarm is a problem with the broker's reason; the rest is still looked at."""
    private_broker.raise_memory_alarm()
    ended = rmqpool("doctor", "--url", private_broker.amqp_url(), "--json")
    private_broker.clear_memory_alarm()
    assert ended.code == 1
    assert problems(ended) == ["alarms"]
    assert "memory" in stages(ended)["alarms"]["text"]
    assert stages(ended)["read"]["state"] == "ok"


def test_arguments_that_differ_are_all_shown(rmqpool: Run, vhost_url: str, tmp_path: Path) -> None:
    """A classic queue that a worker wants as a quorum queue: each difference, and the queue is as it was."""
    (tmp_path / "shop.py").write_text(WORKER)
    with ConnectionPool(vhost_url) as pool, pool.channel() as channel:
        channel.queue_declare("orders", durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 7})
    ended = rmqpool("doctor", "--module", "shop:worker", "--url", vhost_url, "--json")
    by_queue = {finding["facts"].get("queue"): finding for finding in ended.json["findings"]}
    assert ended.code == 1
    differences = by_queue["orders"]["facts"]["differences"]
    assert differences["x-max-length"] == {"wanted": "1000", "there": "7"}
    assert differences["x-delivery-limit"] == {"wanted": "5", "there": "none"}
    assert {"x-dead-letter-exchange", "x-dead-letter-routing-key", "x-overflow"} <= differences.keys()
    assert by_queue["orders.dead"]["state"] == "warning"
    with ConnectionPool(vhost_url) as pool, pool.channel() as channel:
        channel.queue_declare("orders", durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 7})


def test_queues_that_are_as_a_worker_declares_them_are_well(inline: Run, vhost_url: str) -> None:
    """--queue compares with Queue(name)."""
    with Publisher(vhost_url, declare=[Queue("orders")]) as publisher:
        publisher.publish("orders", "x")
    ended = inline("doctor", "--queue", "orders", "--url", vhost_url)
    assert ended.code == 0
    assert "orders is as a worker declares it (1 messages ready, 0 consumers)" in ended.out


def test_queues_of_somebody_else_need_only_be_there(rmqpool: Run, vhost_url: str, tmp_path: Path) -> None:
    """A worker that consumes a passive queue declares it neither with its arguments nor at all."""
    (tmp_path / "guest.py").write_text(
        "from rmqpool import Queue, Worker\nworker = Worker('guest')\n"
        "for name in ('theirs', 'gone'):\n    worker.consumer(Queue(name, passive=True))(lambda body: None)\n"
    )
    with ConnectionPool(vhost_url) as pool:
        pool.declare_once([Queue("theirs", type="classic", dead_letter=None, max_length=7)])
    ended = rmqpool("doctor", "--module", "guest:worker", "--url", vhost_url, "--json")
    states = {finding["facts"].get("queue"): finding["state"] for finding in ended.json["findings"]}
    assert (ended.code, states["theirs"], states["gone"]) == (1, "ok", "problem")


def test_the_first_host_that_lets_us_in_is_looked_at_and_the_other_one_is_told(
    inline: Run, broker: RabbitMQNode
) -> None:
    """Of two hosts one does not answer: a problem that names it, and a broker that was examined."""
    port = ReservedPort()
    port.release()
    url = broker.amqp_url().replace(f":{broker.port}", f":{port.number},127.0.0.1:{broker.port}")
    ended = inline("doctor", "--url", url, "--json")
    assert ended.code == 1
    assert problems(ended) == ["tcp"]
    assert str(port.number) in stages(ended)["tcp"]["text"]
    assert stages(ended)["alarms"]["state"] == "ok"


def test_a_limit_that_is_too_low_is_a_problem(inline: Run, broker: RabbitMQNode) -> None:
    """channel_max below what a pool leases; a heartbeat below the sensible range is a warning."""
    ended = inline("doctor", "--url", f"{broker.amqp_url()}?channel_max=8&heartbeat=2", "--json")
    assert ended.code == 1
    assert problems(ended) == ["channel_max"]
    assert stages(ended)["heartbeat"]["state"] == "warning"


def _tls_url(equipped: EquippedBroker, host: str, authority: Path) -> str:
    node = equipped.node
    url = node.amqp_url(host=host, port=node.tls_port).replace("amqp://", "amqps://")
    return f"{url}?cacertfile={authority}"


def test_a_certificate_is_told_with_names_and_dates(
    rmqpool: Run, equipped_broker: EquippedBroker, tls_authority: dict[str, Path]
) -> None:
    """TLS is accepted, and one knows until when."""
    ended = rmqpool("doctor", "--json", "--url", _tls_url(equipped_broker, "localhost", tls_authority["ca"]))
    assert ended.code == 0, ended.text
    assert stages(ended)["tls"]["state"] == "ok"
    assert stages(ended)["certificate"]["facts"]["names"] == ["localhost"]


@pytest.mark.parametrize(
    ("host", "authority", "told"),
    [
        ("127.0.0.1", "ca", "not for 127.0.0.1"),
        ("localhost", "stranger", "authority"),
        ("localhost", "nowhere", "cannot be read"),
    ],
)
def test_a_certificate_that_is_not_accepted_says_why(
    inline: Run,
    equipped_broker: EquippedBroker,
    tls_authority: dict[str, Path],
    host: str,
    authority: str,
    told: str,
) -> None:
    """Wrong name, unknown authority, a file that is not there: a problem of the tls stage or the certificate."""
    path = tls_authority.get(authority, Path("/nowhere/ca.pem"))
    ended = inline("doctor", "--json", "--url", _tls_url(equipped_broker, host, path))
    assert ended.code == 1
    assert problems(ended)[0] == "tls"
    assert any(
        told in finding["text"] + finding["advice"]
        for finding in ended.json["findings"]
        if finding["state"] == "problem"
    )
