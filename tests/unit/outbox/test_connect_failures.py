"""Which of the server's words, and libpq's, say no for good."""

from __future__ import annotations

import pytest

from rmqpool.outbox.connect_failures import PERMANENT, stage_of

PLACE = 'connection to server at "10.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("told", "stage"),
    [
        (f'{PLACE}FATAL:  password authentication failed for user "shop"', "password"),
        (f"{PLACE}fe_sendauth: no password supplied", "password"),
        (f'{PLACE}FATAL:  role "shop" does not exist', "password"),
        (f'{PLACE}FATAL:  Peer authentication failed for user "shop"', "password"),
        (f'{PLACE}FATAL:  no pg_hba.conf entry for host "10.0.0.2", user "shop", database "shop"', "password"),
        (f'{PLACE}FATAL:  database "shop" does not exist', "database"),
        (f"{PLACE}FATAL:  no such database: shop", "database"),
        (f'{PLACE}FATAL:  permission denied for database "shop"', "rights"),
        (f"{PLACE}Connection refused", "tcp"),
        (f"{PLACE}FATAL:  the database system is starting up", "tcp"),
        (f"{PLACE}FATAL:  sorry, too many clients already", "tcp"),
        ("connection timeout expired", "tcp"),
        ('could not translate host name "nowhere" to address', "tcp"),
    ],
)
def test_only_what_no_waiting_mends_is_permanent(told: str, stage: str) -> None:
    """A server that starts, is full or not there comes by itself; a password does not."""
    assert stage_of(told) == stage
    assert (stage in PERMANENT) == (stage != "tcp")
