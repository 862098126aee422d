"""The fast path is used with the pika versions that it was tested with; with any other, pika's own path, said once."""

import logging

import pika
import pytest

from rmqpool.amqp import wire_support
from rmqpool.amqp.wire_support import PRIVATE_NAMES, TESTED_VERSIONS, may_use_fast_path, refusal


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process, whatever path this one was told to take."""
    wire_support._say_once.cache_clear()
    wire_support._warn_once.cache_clear()
    monkeypatch.delenv("RMQPOOL_WIRE", raising=False)


def test_this_pika_was_tested() -> None:
    """The version that is installed is one of those that pyproject.toml allows and the fast path knows."""
    assert pika.__version__ in TESTED_VERSIONS
    assert may_use_fast_path(pika.SelectConnection)


@pytest.mark.parametrize("version", TESTED_VERSIONS)
def test_tested_versions_are_taken(version: str) -> None:
    """While they have the names that are needed."""
    assert refusal(version, "", pika.SelectConnection) == ""


def test_an_unknown_version_is_not_trusted() -> None:
    """Even if all names are there: they may mean something else."""
    assert "1.4.99" in refusal("1.4.99", "", pika.SelectConnection)


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_a_name_that_is_gone_is_named(name: str) -> None:
    """A tested version that somebody patched."""
    has = {other: staticmethod(lambda: None) for other in PRIVATE_NAMES if other != name}
    assert name in refusal(TESTED_VERSIONS[-1], "", type("Patched", (), has))


@pytest.mark.parametrize("value", ["pika", " PIKA "])
def test_the_environment_chooses_pikas_path(value: str) -> None:
    """To find out whether the fast one is to blame."""
    assert refusal(TESTED_VERSIONS[-1], value, pika.SelectConnection) == "RMQPOOL_WIRE=pika asks for it"


def test_a_value_that_means_nothing_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt switch that does nothing would mislead whoever looks for a fault."""
    monkeypatch.setenv("RMQPOOL_WIRE", "pikaa")
    with caplog.at_level(logging.WARNING, "rmqpool"):
        assert may_use_fast_path(pika.SelectConnection)
        assert may_use_fast_path(pika.SelectConnection)
    assert [record.getMessage() for record in caplog.records] == [
        "RMQPOOL_WIRE is 'pikaa', which means nothing: it may be pika, or not set; the fast path is used"
    ]


def test_the_reason_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Not with every connection."""
    monkeypatch.setattr(pika, "__version__", "1.4.99")
    with caplog.at_level(logging.WARNING, "rmqpool"):
        assert not may_use_fast_path(pika.SelectConnection)
        assert not may_use_fast_path(pika.SelectConnection)
    assert [record.getMessage() for record in caplog.records if "1.4.99" in record.getMessage()] == [
        "messages go through pika's own, slower path: the fast path was tested with pika "
        f"{', '.join(TESTED_VERSIONS)}, and this is 1.4.99"
    ]
