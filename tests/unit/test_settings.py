"""Settings of a connection are checked when they are made."""

import dataclasses
import math

import pytest

from rmqpool.errors import ConfigurationError
from rmqpool.settings import ConnectionSettings, Secret, TLSSettings, is_host

CANARY = "canary-7f3a"


def test_the_defaults_are_a_local_broker():
    """What one gets with nothing said."""
    settings = ConnectionSettings()
    assert settings.hosts == (("127.0.0.1", 5672),)
    assert (settings.user, settings.password.reveal(), settings.vhost) == ("guest", "guest", "/")
    assert settings.tls is None
    assert settings.heartbeat == 15


def test_settings_are_immutable_and_hashable():
    """A value, which may be shared between threads."""
    settings = ConnectionSettings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.heartbeat = 3
    assert hash(settings) == hash(ConnectionSettings())


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("hosts", ()),
        ("hosts", [("h", 1)]),
        ("hosts", (("h",),)),
        ("hosts", (("", 5672),)),
        ("hosts", (("a b", 5672),)),
        ("hosts", (("h", 0),)),
        ("hosts", (("h", 65536),)),
        ("hosts", (("h", True),)),
        ("hosts", (("h", "5672"),)),
        ("user", ""),
        ("user", "a\0b"),
        ("user", None),
        ("password", "plain text"),
        ("password", Secret("a\0b")),
        ("password", Secret("\ud800")),
        ("vhost", ""),
        ("vhost", "é" * 128),
        ("tls", True),
        ("heartbeat", 0),
        ("heartbeat", 3601),
        ("heartbeat", 1.5),
        ("heartbeat", True),
        ("heartbeat", None),
        ("dns_timeout", 0),
        ("tcp_timeout", -1),
        ("tls_timeout", math.inf),
        ("amqp_timeout", math.nan),
        ("amqp_timeout", "5"),
        ("blocked_timeout", 0),
        ("reconnect_delay", 0),
        ("reconnect_max_delay", None),
        ("refused_delay", 0.5),
        ("frame_max", 4095),
        ("frame_max", 131073),
        ("channel_max", 0),
        ("channel_max", 65536),
        ("max_message_size", 0),
        ("max_message_size", 2**29 + 1),
        ("connection_name", "a\nb"),
        ("connection_name", "x" * 256),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field, wrong):
    """Each field has its range, and the error names the field."""
    with pytest.raises(ConfigurationError, match=field):
        ConnectionSettings(**{field: wrong})


def test_an_error_of_a_number_tells_the_value_and_the_range():
    """What happened, and what to do."""
    with pytest.raises(ConfigurationError, match=r"heartbeat is 0; it must be a whole number from 1 to 3600"):
        ConnectionSettings(heartbeat=0)


def test_the_first_pause_is_not_longer_than_the_longest():
    """Two fields that contradict each other."""
    with pytest.raises(ConfigurationError, match="reconnect_delay"):
        ConnectionSettings(reconnect_delay=9.0, reconnect_max_delay=5.0)


def test_none_is_allowed_where_it_has_a_meaning():
    """blocked_timeout and max_message_size."""
    settings = ConnectionSettings(blocked_timeout=None, max_message_size=None)
    assert settings.blocked_timeout is None
    assert settings.max_message_size is None


def test_neither_repr_nor_the_redacted_url_shows_the_password():
    """Both may stand in a log."""
    settings = ConnectionSettings(
        hosts=(("one", 5671), ("::1", 5672)),
        user="us er",
        password=Secret(CANARY),
        vhost="a/b",
        tls=TLSSettings(key_password=Secret(CANARY), certfile="c"),
    )
    assert CANARY not in repr(settings)
    assert settings.redacted_url() == "amqps://us%20er:**********@one:5671,[::1]:5672/a%2Fb"


@pytest.mark.parametrize("host", ["a", "a.b-c_d.example", "127.0.0.1", "::1", "fe80::1%eth0", "my_service", "a."])
def test_host_names_and_addresses_are_hosts(host):
    """Docker's underscores too."""
    assert is_host(host)


@pytest.mark.parametrize(
    "host", ["", "a b", "a:b", "-a", "é", "a/b", "a@b", "[::1]", "fe80::1%a b", "a" * 300, None, 5]
)
def test_other_things_are_no_hosts(host):
    """Whatever could hide a mistake in a URL."""
    assert not is_host(host)
