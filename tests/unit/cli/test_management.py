"""Where the management API is, and what it says."""

from __future__ import annotations

import pytest

from rmqpool.cli.management import endpoint_of, row_of
from rmqpool.errors import ConfigurationError
from rmqpool.urls import parse_url


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("amqp://me:secret@one:5673,two/", "http://one:15672"),
        ("amqps://me:secret@one/", "https://one:15671"),
        ("amqp://me:secret@[::1]/", "http://[::1]:15672"),
    ],
)
def test_the_default_is_the_first_hosts_own_port(url: str, base: str) -> None:
    """With the credentials of the URL."""
    endpoint = endpoint_of(parse_url(url), None)
    assert (endpoint.base, endpoint.user, endpoint.password.reveal()) == (base, "me", "secret")


def test_credentials_may_stand_in_the_management_url() -> None:
    """They are taken out of what is shown."""
    endpoint = endpoint_of(parse_url("amqp://me:secret@one/"), "https://you:p%40ss@two:443/rabbit/")
    assert (endpoint.base, endpoint.user, endpoint.password.reveal()) == ("https://two:443/rabbit", "you", "p@ss")


@pytest.mark.parametrize("url", ["two:15672", "ftp://two", "http://", "http://two:port", "http://a b"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    """The sentence shows the form."""
    with pytest.raises(ConfigurationError, match="http://host:15672"):
        endpoint_of(parse_url("amqp://one/"), url)


def test_counts_that_were_not_gathered_yet_are_unknown() -> None:
    """A dash in the table, null for machines: never a zero that nobody counted."""
    row = row_of({"name": "orders"})
    assert (row.messages, row.consumers, row.problem) == (None, None, "")
    assert row.cells() == ("orders", "-", "-", "-", "-", "-", "there")
    assert row_of({"name": "q", "state": "down"}).problem == "state down"
