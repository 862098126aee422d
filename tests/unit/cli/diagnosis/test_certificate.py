"""What a certificate says."""

from __future__ import annotations

from typing import Any

import pytest

from rmqpool.cli.diagnosis.certificate import describe

JUNE = 1_780_272_000.0  # 2026-06-01


def certificate(ends: str, *names: str) -> dict[str, Any]:
    """As ssl describes one."""
    return {"notAfter": ends, "subjectAltName": tuple(("DNS", name) for name in names)}


@pytest.mark.parametrize(
    ("ends", "names", "state", "told"),
    [
        ("Jun  1 00:00:00 2027 GMT", ("broker.example",), "ok", "2027-06-01 (365 days left)"),
        ("Jun  1 00:00:00 2027 GMT", ("*.example",), "ok", "365 days"),
        ("Jun 11 00:00:00 2026 GMT", ("broker.example",), "warning", "10 days left"),
        ("May  1 00:00:00 2026 GMT", ("broker.example",), "problem", "expired"),
        ("Jun  1 00:00:00 2027 GMT", ("other.example",), "problem", "not for broker.example"),
        ("Jun  1 00:00:00 2027 GMT", ("*.broker.example",), "problem", "not for"),
        ("Jun  1 00:00:00 2027 GMT", (), "problem", "no name at all"),
    ],
)
def test_dates_and_names_decide(ends: str, names: tuple[str, ...], state: str, told: str) -> None:
    """Expired, soon to expire, for another name, well."""
    finding = describe(certificate(ends, *names), "broker.example", JUNE)
    assert finding.state == state
    assert told in finding.text
