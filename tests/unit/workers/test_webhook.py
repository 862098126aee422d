"""The webhook worker's decisions: signatures as their specifications say, what an answer means, settings that are sentences."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.errors import ConfigurationError
from workers.environment import read_settings
from workers.webhook.answers import Answer, meaning_of, retry_after
from workers.webhook.app import header_value, make_worker
from workers.webhook.settings import PREFIX, WebhookSettings
from workers.webhook.signing import signature_headers

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"


def test_a_standard_signature_is_that_of_the_specification() -> None:
    """The example of the reference libraries (https://github.com/standard-webhooks/standard-webhooks)."""
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    headers = signature_headers("standard", [key, KEY], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    first, second = headers["webhook-signature"].split()
    assert first == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert second.startswith("v1,")
    assert second != first


def test_a_github_signature_is_that_of_its_documentation() -> None:
    """The example of docs.github.com; of two keys the first one signs."""
    headers = signature_headers("github", ["It's a Secret to Everybody", KEY], "id", 7, b"Hello, World!")
    assert headers == {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}


def test_a_stripe_signature_holds_time_and_body() -> None:
    """``t.body``, with each key."""
    headers = signature_headers("stripe", [KEY, "another key, longer"], "id", 1492774577, b"\xff{}")
    signed = b"1492774577.\xff{}"
    expected = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in (KEY, "another key, longer")]
    assert headers == {"stripe-signature": f"t=1492774577,v1={expected[0]},v1={expected[1]}"}


def test_without_a_key_nothing_is_signed() -> None:
    """No header pretends that something was."""
    assert signature_headers("standard", [], "id", 7, b"") == {}


@pytest.mark.parametrize(
    ("statuses", "answer"),
    [
        ((200, 201, 202, 204, 299), Answer.DELIVERED),
        ((408, 425, 429, 500, 502, 503, 504, 599), Answer.AGAIN),
        ((301, 302, 308, 400, 401, 403, 404, 409, 410, 413, 422), Answer.REFUSED),
    ],
)
def test_the_status_decides(statuses: tuple[int, ...], answer: Answer) -> None:
    """2xx is delivered; 5xx, 408, 425 and 429 may be taken later; everything else is refused."""
    assert {meaning_of(status) for status in statuses} == {answer}


def test_retry_after_is_read_in_both_forms() -> None:
    """Seconds or a date, no more than what is allowed, and nothing that lies in the past or makes no sense."""
    assert retry_after("120", NOW, 3600) == 120
    assert retry_after("999999999999999999", NOW, 3600) == 3600
    assert retry_after(format_datetime(NOW + timedelta(seconds=90), usegmt=True), NOW, 3600) == 90
    assert retry_after(format_datetime(NOW - timedelta(days=1), usegmt=True), NOW, 3600) == 0
    assert [retry_after(text, NOW, 3600) for text in (None, "", "soon", "-5", "1.5", "²")] == [None] * 6
    for year, zone in (("99999999999999999999", "GMT"), ("2026", "+99999999999999999999"), ("2026", "+04444444444444")):
        assert retry_after(f"Mon, 02 Feb {year} 00:00:00 {zone}", NOW, 3600) is None


@given(st.text())
def test_any_retry_after_is_survived(text: str) -> None:
    """Whatever an endpoint sends is a wait within the bounds, or none."""
    wait = retry_after(text, NOW, 60)
    assert wait is None or 0 <= wait <= 60


@given(st.text() | st.binary())
def test_any_property_becomes_a_header(text: str | bytes) -> None:
    """Printable ASCII without blanks around it: no line break gets into a request."""
    try:
        value = header_value(text)
    except UnicodeEncodeError:  # half a surrogate pair, which no property holds
        return
    assert value.isascii()
    assert value == value.strip()
    assert all(" " <= letter <= "~" for letter in value)


def settings(**more: str) -> WebhookSettings:
    """As of an environment with these variables beside the address."""
    given = {f"{PREFIX}{name.upper()}": value for name, value in more.items()}
    return read_settings(
        WebhookSettings, PREFIX, {"WEBHOOK_URL": "https://me:hunter2@example.com/hooks?token=x", **given}
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"url": ""}, "WEBHOOK_URL is not set: set it to the endpoint, as in https://example.com/hooks"),
        ({"url": "ftp://hunter2@host/"}, "WEBHOOK_URL: it must be an address such as https://example.com/hooks"),
        ({"url": "http://host/a b"}, "WEBHOOK_URL: it holds blanks"),
        ({"timeout": "soon"}, "WEBHOOK_TIMEOUT is 'soon': Input should be a valid number"),
        ({"concurrency": "0"}, "WEBHOOK_CONCURRENCY is '0': Input should be greater than or equal to 1"),
        ({"signature": "md5"}, "WEBHOOK_SIGNATURE is 'md5': Input should be 'standard', 'stripe' or 'github'"),
        ({"secret": "hunter2"}, "WEBHOOK_SECRET: a key of less than 16 characters can be guessed"),
        ({"headers": '{"Authorization: hunter2'}, "WEBHOOK_HEADERS: it must be a JSON object of texts"),
        ({"headers": '{"X": "a\\nhunter2"}'}, "WEBHOOK_HEADERS: a name or a value in it is none that HTTP takes"),
        ({"headers": '{"Host": "x"}'}, "WEBHOOK_HEADERS: host is set by the worker itself"),
        ({"secret": "x" * 20, "secret_file": "/x"}, "WEBHOOK_SECRET and WEBHOOK_SECRET_FILE are both set"),
        ({"secret_file": "/no/such/file"}, "WEBHOOK_SECRET_FILE: '/no/such/file' cannot be read"),
    ],
)
def test_a_wrong_setting_is_a_sentence_that_names_its_variable(more: dict[str, str], said: str) -> None:
    """And that repeats no secret."""
    with pytest.raises(ConfigurationError) as caught:
        settings(**more)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_back_off_that_shrinks_is_refused() -> None:
    """By the names of both variables."""
    with pytest.raises(ConfigurationError, match=r"WEBHOOK_BACKOFF_MAX is 1, below WEBHOOK_BACKOFF_FIRST \(5\)"):
        make_worker(settings(backoff_max="1"))
    with pytest.raises(
        ConfigurationError, match=r"WEBHOOK_BREAKER_PAUSE_MAX is 0.5, below WEBHOOK_BREAKER_PAUSE_FIRST \(1\)"
    ):
        make_worker(settings(breaker_pause_max="0.5"))


def test_secrets_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    """Several keys in one secret; what people see of the address is its host."""
    (tmp_path / "key").write_text(f"{KEY} another-key-0123456789\n")
    given = settings(secret_file=str(tmp_path / "key"), headers='{"Authorization": "Bearer hunter2"}')
    assert given.keys == (KEY, "another-key-0123456789")
    assert given.more_headers == {"Authorization": "Bearer hunter2"}
    assert given.endpoint == "https://example.com"
    assert "hunter2" not in repr(given)
    assert KEY not in repr(given)
