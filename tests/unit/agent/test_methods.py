"""The table of methods is that of the AMQP specification: what pika can write is let through, and nothing else."""

import inspect
import random
from typing import Any

import pytest
from pika import spec

from rmqpool.agent.methods import PUBLISH, SHAPES, arguments_of, publish_bits
from rmqpool.agent.violation import Violation

NOT_A_CLIENTS = {  # methods that a client might send, and RabbitMQ does not take
    spec.Channel.FlowOk.INDEX,
    spec.Basic.CancelOk.INDEX,
    spec.Exchange.UnbindOk.INDEX,  # 40.51: not its question's number and one more, as all others
}


def methods() -> dict[int, Any]:
    """Every method of pika's, of channels only."""
    found = {}
    for group in (spec.Access, spec.Channel, spec.Exchange, spec.Queue, spec.Basic, spec.Tx, spec.Confirm):
        for _, method in inspect.getmembers(group, inspect.isclass):
            if hasattr(method, "INDEX"):
                found[method.INDEX] = method
    return found


def filled(method: Any, choose: random.Random) -> bytes:
    """Its arguments, any that fit."""
    instance = method()
    for name, value in vars(instance).items():
        if isinstance(value, bool):
            setattr(instance, name, choose.random() < 0.5)
        elif isinstance(value, str) or name in (
            "consumer_tag",
            "exchange",
            "queue",
            "routing_key",
            "source",
            "destination",
        ):
            setattr(instance, name, "x" * choose.randrange(256))
        elif isinstance(value, int):
            setattr(instance, name, choose.randrange(2**16))
        elif name in ("reply_text",):
            setattr(instance, name, "why")
        elif name in ("arguments",):
            setattr(instance, name, {"x-n": choose.randrange(9)})
        elif value is None:
            setattr(instance, name, choose.randrange(100))
    return b"".join(instance.encode())


@pytest.mark.parametrize("method", [one for one in methods().values() if one.INDEX in SHAPES], ids=lambda one: one.NAME)
def test_arguments_of_pikas_are_let_through_and_others_are_not(method: Any) -> None:
    """Any values; a byte more or less is another shape."""
    choose = random.Random(1)
    for _ in range(50):
        raw = filled(method, choose)
        assert len(arguments_of(method.INDEX, b"ab" + raw, 2, 2 + len(raw))) == len(SHAPES[method.INDEX])
        if method.INDEX == PUBLISH:
            assert publish_bits(bytearray(raw), 0, len(raw)) == raw[-1]
        for wrong in (raw + b"\0", raw[:-1]) if raw else (b"\0",):
            with pytest.raises(Violation, match="502"):
                arguments_of(method.INDEX, wrong, 0, len(wrong))
            if method.INDEX == PUBLISH:
                with pytest.raises(Violation, match="502"):
                    publish_bits(bytearray(wrong), 0, len(wrong))


def test_every_method_that_a_client_may_send_is_known() -> None:
    """Those with an answer, and those without one that only clients send; answers are the broker's."""
    known = methods()
    asked = {number for number, method in known.items() if method.synchronous}
    answers = {number + 1 for number in asked}
    only_brokers = {spec.Basic.Return.INDEX, spec.Basic.Deliver.INDEX, spec.Basic.GetEmpty.INDEX}
    wanted = (set(known) - answers - only_brokers - NOT_A_CLIENTS) | {spec.Channel.CloseOk.INDEX}
    assert set(SHAPES) == wanted


def test_what_no_client_sends_is_told_by_its_number() -> None:
    """Before it gets to the broker, which would end the connection."""
    for number in (spec.Basic.Deliver.INDEX, spec.Connection.Close.INDEX, 0x140063):
        with pytest.raises(Violation, match=f"{number >> 16}.{number & 0xFFFF}"):
            arguments_of(number, b"", 0, 0)
