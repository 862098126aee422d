"""The broker's certificate: until when it is valid, and for which names. Looked at on a TLS connection of its own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
import warnings
from datetime import UTC, datetime
from typing import Any

from rmqpool.cli.diagnosis.finding import Finding, problem, warning, well
from rmqpool.errors import ConfigurationError
from rmqpool.settings import ConnectionSettings
from rmqpool.tls import TLSSettings

__all__ = ["check_files", "describe", "look_at_certificate"]

_SOON = 30  # days
_DAY = 86400


def check_files(tls: TLSSettings) -> list[Finding]:
    """Whether the files of the settings can be loaded; a problem names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tls.context()
    except ConfigurationError as error:
        return [problem("tls", str(error))]
    if not tls.verify:
        return [
            warning(
                "tls",
                "the broker's certificate is not verified: anybody in between can read and change everything",
                "leave verify=verify_none out, and name the authority's file: cacertfile=…",
            )
        ]
    return []


def look_at_certificate(settings: ConnectionSettings) -> list[Finding]:
    """Dates and names of the certificate of the first host; no finding if it cannot be seen (the tls stage tells why).

    A certificate that is not accepted is looked at too, to tell what it says: trusted by itself, for nothing else.
    """
    tls = settings.tls
    if tls is None or not tls.verify:
        return []
    host, port = settings.hosts[0]
    with contextlib.suppress(OSError, ConfigurationError):
        certificate = _fetch(tls.context(), host, port, tls.server_hostname or host, settings.tls_timeout)
        return [describe(certificate, tls.server_hostname or host, time.time())]
    with contextlib.suppress(OSError, ConfigurationError, ValueError):
        certificate = _fetch_unaccepted(tls, host, port, settings.tls_timeout)
        return [describe(certificate, tls.server_hostname or host, time.time())]
    return []


def describe(certificate: dict[str, Any], name: str, now: float) -> Finding:
    """From ssl's description of a certificate to a finding; ``now`` in seconds since the epoch. Pure."""
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    until = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d")
    days = int((ends - now) // _DAY)
    told = f"certificate for {', '.join(names) or 'no name at all'}, valid until {until}"
    facts = {"names": names, "valid_until": until, "days_left": days}
    if ends <= now:
        return problem("certificate", f"{told}: it has expired", "renew it on the broker", **facts)
    if not _covers(names, name):
        return problem(
            "certificate", f"{told}: not for {name}", "use a name in it as host, or in server_name_indication", **facts
        )
    if days < _SOON:
        return warning("certificate", f"{told}: {days} days left", "renew it on the broker", **facts)
    return well("certificate", f"{told} ({days} days left)", **facts)


def _covers(names: list[str], name: str) -> bool:
    """The left-most label may be a wildcard (RFC 6125, 6.4.3)."""
    wanted = name.lower().rstrip(".")
    parent = wanted.partition(".")[2]
    return any(known.lower() in (wanted, f"*.{parent}") for known in names)


def _fetch(context: ssl.SSLContext, host: str, port: int, name: str, timeout: float) -> dict[str, Any]:
    with (
        socket.create_connection((host, port), timeout) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        return dict(secure.getpeercert() or {})


def _fetch_unaccepted(tls: TLSSettings, host: str, port: int, timeout: float) -> dict[str, Any]:
    """Python describes verified certificates only: so this one is its own authority, on a connection that carries nothing."""
    pem = ssl.get_server_certificate((host, port), timeout=timeout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=pem)
    if tls.certfile:
        context.load_cert_chain(
            tls.certfile, tls.keyfile, lambda: tls.key_password.reveal() if tls.key_password else ""
        )
    return _fetch(context, host, port, tls.server_hostname or host, timeout)
