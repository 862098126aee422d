"""The URL parser: everything that is right is understood, everything else is refused without repeating any of it."""

import string
import traceback

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rmqpool.errors import ConfigurationError
from rmqpool.settings import ConnectionSettings, Secret, TLSSettings
from rmqpool.url_options import OPTIONS
from rmqpool.urls import build_url, parse_url

CANARY = "canary7f3a"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("amqp://h", (("h", 5672),)),
        ("amqps://h", (("h", 5671),)),
        ("AMQP://h:1/", (("h", 1),)),
        ("amqp://h1:5673,h2,[::1]:5674,[::2]", (("h1", 5673), ("h2", 5672), ("::1", 5674), ("::2", 5672))),
        ("amqp://u:p@127.0.0.1:65535", (("127.0.0.1", 65535),)),
        ("amqp://[fe80::1%25eth0]", (("fe80::1%eth0", 5672),)),
    ],
)
def test_hosts_and_ports(url, hosts):
    """Several hosts, IPv6, a default port for each scheme."""
    assert parse_url(url).hosts == hosts


@pytest.mark.parametrize(
    ("path", "vhost"),
    [
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("/%2f", "/"),
        ("/%2F", "/"),
        ("/a", "a"),
        ("/a%2Fb", "a/b"),
        ("/%C3%A9", "é"),
    ],
)
def test_the_path_is_the_virtual_host(path, vhost):
    """No path, an empty one and kombu's form mean the default virtual host."""
    assert parse_url(f"amqp://h{path}").vhost == vhost


def test_user_and_password_are_percent_decoded():
    """What is reserved in a URL may stand in a password."""
    settings = parse_url("amqp://us%40er:p%3A%2F%40%3F%23%25@h/")
    assert settings.user == "us@er"
    assert settings.password == Secret("p:/@?#%")


def test_no_user_means_guest():
    """As the specification leaves it to the client."""
    assert parse_url("amqp://h") == ConnectionSettings(hosts=(("h", 5672),))


def test_an_empty_password_is_a_password():
    """A user with a colon and nothing behind it."""
    assert parse_url("amqp://u:@h").password == Secret("")


def test_rabbitmqs_options_are_understood():
    """Those of rabbitmq.com/docs/uri-query-parameters that mean something here."""
    settings = parse_url(
        "amqps://h?heartbeat=7&connection_timeout=2500&channel_max=9&cacertfile=/ca.pem&certfile=/c.pem"
        "&keyfile=/k.pem&verify=verify_none&server_name_indication=name"
    )
    assert (settings.heartbeat, settings.tcp_timeout, settings.channel_max) == (7, 2.5, 9)
    assert settings.tls == TLSSettings("/ca.pem", "/c.pem", "/k.pem", None, False, "name")


def test_our_options_are_understood():
    """Those that RabbitMQ has no name for."""
    settings = parse_url("amqp://h?frame_max=8192&tls_timeout=1.5&blocked_timeout=9&connection_name=a%20b%26c")
    assert (settings.frame_max, settings.tls_timeout, settings.blocked_timeout) == (8192, 1.5, 9.0)
    assert settings.connection_name == "a b&c"


def test_a_password_comes_from_a_file(tmp_path):
    """Without the line's end."""
    (tmp_path / "secret").write_text(CANARY + "\n")
    assert parse_url(f"amqp://u@h?password_file={tmp_path}/secret").password == Secret(CANARY)


def test_a_keyword_wins_over_the_url():
    """And a password may come beside the URL."""
    settings = parse_url("amqp://u@h?heartbeat=7", heartbeat=8, password=CANARY)
    assert (settings.heartbeat, settings.password) == (8, Secret(CANARY))


def test_an_unknown_keyword_is_refused_with_a_suggestion():
    """A typing error in the program."""
    with pytest.raises(ConfigurationError, match="did you mean heartbeat"):
        parse_url("amqp://h", hartbeat=3)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("amqp://h ", "space"),
        ("amqp://h\n", "line break"),
        ("http://h", "amqp:// or amqps://"),
        ("h:5672", "amqp:// or amqps://"),
        ("amqp:/h", "amqp:// or amqps://"),
        ("amqp://", "no host"),
        ("amqp:///vhost", "no host"),
        ("amqp://u:p@", "no host"),
        ("amqp://u:p@/v", "no host"),
        ("amqp://h1,,h2", "host 2"),
        ("amqp://h1,", "host 2"),
        ("amqp://:5672", "host 1"),
        ("amqp://h:", "port of host 1"),
        ("amqp://h:0", "port of host 1"),
        ("amqp://h:65536", "port of host 1"),
        ("amqp://h:-1", "port of host 1"),
        ("amqp://h:٣", "port of host 1"),
        ("amqp://h:1:2", "port of host 1"),
        ("amqp://::1", "host 1"),
        ("amqp://[::1", "host 1"),
        ("amqp://[h]", "host 1"),
        ("amqp://u@h", "no password"),
        ("amqp://:p@h", "no user"),
        ("amqp://@h", "no user"),
        ("amqp://u:p:q@h", "%3A"),
        ("amqp://u:p@q@h", "%40"),
        ("amqp://u:p/q@h", "port of host 1"),
        ("amqp://u:p@h/a/b", "%2F"),
        ("amqp://h#x", "%23"),
        ("amqp://h/%zz", "hex"),
        ("amqp://h/%ff", "UTF-8"),
        ("amqp://h?hartbeat=5", "did you mean heartbeat.*Known: .*amqp_timeout"),
        ("amqp://h?heartbeat", "no value"),
        ("amqp://h?heartbeat=", "no value"),
        ("amqp://h?heartbeat=5&heartbeat=5", "twice"),
        ("amqp://h?tcp_timeout=5&connection_timeout=5000", "twice"),
        ("amqp://h?heartbeat=five", "heartbeat must be a whole number"),
        ("amqp://h?heartbeat=0", "heartbeat is 0"),
        ("amqp://h?tcp_timeout=nan", "tcp_timeout must be a number"),
        ("amqp://h?&heartbeat=5", "option 1"),
        ("amqp://h?cacertfile=/x", "amqps"),
        ("amqp://h?verify=verify_none", "amqps"),
        ("amqps://h?verify=no", "verify_peer or verify_none"),
        ("amqp://u:p@h?password_file=/x", "keep one"),
        ("amqp://u@h?password_file=/nowhere/at/all", "password_file"),
        (None, "NoneType"),
    ],
)
def test_a_wrong_url_is_refused_with_a_reason(url, told):
    """Clear errors, one for each mistake."""
    with pytest.raises(ConfigurationError, match=told):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "tls"), [("amqp://h", TLSSettings()), ("amqps://h", None), ("amqps://h?verify=verify_none", TLSSettings())]
)
def test_tls_settings_that_contradict_the_url_are_refused(url, tls):
    """TLS is spoken with amqps:// only, and is configured in one place."""
    with pytest.raises(ConfigurationError, match=r"amqp|TLS"):
        parse_url(url, tls=tls)


def _parsed_or_told(url: str) -> tuple[ConnectionSettings | None, str]:
    """The settings, or everything that a log could hold of the refusal: message, traceback, repr."""
    try:
        return parse_url(url), ""
    except ConfigurationError as error:
        return None, "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://user:{}",
        "amqp://user:{}/vhost",
        "amqp://user:{}@",
        "amqp://user:{}@h:x/",
        "amqp://user:a/{}@h/",
        "amqp://user:a?{}@h/",
        "amqp://user:a?{}=b@h/",
        "amqp://user:a#{}@h/",
        "amqp://user:a@{}@h/",
        "amqp://user:{}%@h/",
        "amqp://user:%zz{}@h/",
        "amqp://user:{}@h/?x=1",
        "amqp://user:{}@h?heartbeat=0",
        "amqp://user:{}@h?heartbeat={}",
        "amqp://user:{}@h?verify={}",
        "amqp://{}",
        "amqp://{} @h",
        "amqp:user:{}@h",
        "{}",
        "amqp://user:{}@h:5672:5",
        "amqp://u:p@h?password_file={}",
        "amqp://u@h?password_file=/nowhere/{}",
        "amqp://h?{}=1",
        "amqp://h?connection_name=%0A{}",
        "amqp://h,{}!",
    ],
)
def test_no_error_repeats_the_password_wherever_it_stands(url):
    """Neither the message nor the chained exceptions of the traceback."""
    settings, told = _parsed_or_told(url.format(*[CANARY] * 2))
    assert CANARY not in told
    assert (settings is None) == (url != "amqp://{}")  # the last is a host name like any other


_reserved = st.sampled_from(
    [":", "/", "@", "?", "#", "%", "%zz", "&", "=", ",", "[", "]", " ", "//", "amqp://", "5672", ""]
)


@given(
    st.lists(st.one_of(_reserved, st.text(max_size=5), st.sampled_from(sorted(OPTIONS))), max_size=12),
    st.integers(0, 12),
)
@example(["amqp://", "u:", "@h"], 2)
def test_any_text_parses_or_is_refused_without_the_password(parts, place):
    """Garbage of every kind around a password: settings, or a ConfigurationError that does not repeat it."""
    text = "".join([*parts[:place], CANARY, *parts[place:]])
    for url in (text, "amqp://" + text, "amqp://user:" + text, "amqps://user:" + text + "@host/"):
        settings, told = _parsed_or_told(url)
        assert CANARY not in told
        if settings is not None and CANARY in settings.password.reveal():
            assert CANARY not in repr(settings) + settings.redacted_url()


_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
_seconds = st.one_of(st.floats(0.001, 3600).map(lambda value: round(value, 3)), st.integers(1, 3600).map(float))
_hosts = st.one_of(
    st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=20),
    st.ip_addresses().map(str),
    st.sampled_from(["a.b-c.example", "fe80::1%eth0"]),
)
_paths = _texts.filter(lambda text: "\0" not in text)


@st.composite
def _settings(draw):
    first, longest = sorted([draw(_seconds), draw(_seconds)])
    certfile = draw(st.none() | _paths)
    tls = TLSSettings(
        cafile=draw(st.none() | _paths),
        certfile=certfile,
        keyfile=draw(st.none() | _paths) if certfile else None,
        verify=draw(st.booleans()),
        server_hostname=draw(st.none() | _paths),
    )
    return ConnectionSettings(
        hosts=tuple(draw(st.lists(st.tuples(_hosts, st.integers(1, 65535)), min_size=1, max_size=3))),
        user=draw(_texts),
        password=Secret(draw(st.just("") | _texts)),
        vhost=draw(_texts),
        tls=draw(st.sampled_from([None, tls])),
        heartbeat=draw(st.integers(1, 3600)),
        dns_timeout=draw(_seconds),
        tcp_timeout=draw(_seconds),
        blocked_timeout=draw(st.none() | _seconds),
        reconnect_delay=first,
        reconnect_max_delay=longest,
        frame_max=draw(st.integers(4096, 131072)),
        channel_max=draw(st.integers(1, 65535)),
        max_message_size=draw(st.none() | st.integers(1, 2**29)),
        connection_name=draw(_texts.filter(str.isprintable) | st.just("")),
    )


@given(_settings())
def test_building_and_parsing_give_equal_settings(settings):
    """parse_url(build_url(settings)) == settings."""
    assume(len(settings.vhost.encode()) <= 255)
    assert parse_url(build_url(settings)) == settings


def test_a_keys_password_cannot_stand_in_a_url():
    """build_url refuses instead of leaving it out."""
    settings = ConnectionSettings(tls=TLSSettings(certfile="c", key_password=Secret(CANARY)))
    with pytest.raises(ConfigurationError, match="cannot stand in a URL"):
        build_url(settings)
