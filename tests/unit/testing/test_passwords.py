"""What a report of a failed test shows of a URL."""

from __future__ import annotations

from rmqpool import parse_url
from rmqpool.testing.passwords import ShownUrl, new_password


def test_a_shown_url_has_no_password_and_is_a_url_all_the_same() -> None:
    """pytest prints the arguments of a failed test with their repr."""
    password = new_password()
    url = ShownUrl(f"amqp://tests:{password}@127.0.0.1:5672/shop")
    assert repr(url) == "'amqp://tests:***@127.0.0.1:5672/shop'"
    assert parse_url(url).password.reveal() == password
    assert isinstance(url, str)
