"""The URL of an agent: everything that is right is understood, everything else is refused in a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.config import explain, load_settings
from rmqpool.errors import ConfigurationError
from rmqpool.settings import ConnectionSettings
from rmqpool.urls import build_url, parse_url


def test_an_agents_url_names_a_socket():
    """No host, no user, no virtual host: the agent knows these."""
    settings = parse_url("agent:///run/rmqpool.sock")
    assert settings == ConnectionSettings(socket_path="/run/rmqpool.sock")
    assert settings.address == "/run/rmqpool.sock"
    assert settings.redacted_url() == "agent:///run/rmqpool.sock"


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=25))
def test_any_path_comes_back_as_it_was(name):
    """Through the URL and back."""
    settings = ConnectionSettings(socket_path=f"/{name.strip('/')}x", heartbeat=7, blocked_timeout=2.5)
    assert parse_url(build_url(settings)) == settings


def test_options_of_the_client_itself_are_taken():
    """Heartbeat, names, timeouts: what the client does on its own side."""
    settings = parse_url(
        "agent:///run/a%20b.sock?heartbeat=5&connection_name=shop&connection_timeout=500&blocked_timeout=9"
    )
    assert (settings.socket_path, settings.heartbeat, settings.connection_name) == ("/run/a b.sock", 5, "shop")
    assert (settings.tcp_timeout, settings.blocked_timeout) == (0.5, 9.0)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("agent://", "names no socket"),
        ("agent:///", "names no socket"),
        ("agent://run/rmqpool.sock", "three slashes"),
        ("agent://user:canary@/run/rmqpool.sock", "no user and no password"),
        ("agent:run/rmqpool.sock", "must start with"),
        ("agent:///run/", "absolute path of a Unix socket"),
        ("agent:///run/x.sock?frame_max=8192", "frame_max is of no use with an agent"),
        ("agent:///run/x.sock?cacertfile=/etc/ca.pem", "cacertfile is of no use with an agent"),
        ("agent:///run/x.sock?password_file=/etc/secret", "password_file is of no use with an agent"),
        ("agent:///run/x.sock?hartbeat=3", "did you mean heartbeat"),
        (f"agent:///{'x' * 107}", "at most 107"),
        (f"agent:///{'%C3%A4' * 54}", "has 109 bytes"),
    ],
)
def test_what_is_wrong_is_told_without_repeating_it(url, says):
    """Each with the next step."""
    with pytest.raises(ConfigurationError, match=says) as error:
        parse_url(url)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("setting", ["password", "user", "vhost", "tls"])
def test_settings_of_the_broker_are_the_agents(setting):
    """They would be ignored, so they are refused."""
    with pytest.raises(ConfigurationError, match=f"the setting {setting} is of no use with an agent"):
        parse_url("agent:///run/x.sock", **{setting: "canary"})


def test_a_path_of_107_bytes_is_taken():
    """The longest that unix(7) has room for."""
    assert parse_url(f"agent:///{'x' * 106}").socket_path == f"/{'x' * 106}"


def test_config_show_tells_the_socket():
    """There is no password to be masked."""
    rows = {row.name: row.value for row in explain(load_settings(url="agent:///run/rmqpool.sock"))}
    assert rows["url"] == "agent:///run/rmqpool.sock"
