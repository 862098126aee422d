"""TLS verifies the certificate and the host name unless one says otherwise, and saying otherwise is loud."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rmqpool.errors import ConfigurationError
from rmqpool.secret import Secret

if TYPE_CHECKING:
    import ssl

__all__ = ["InsecureTLSWarning", "TLSSettings"]

logger = logging.getLogger("rmqpool.tls")

_INSECURE = (
    "TLS without verification: anybody between this process and the broker can read and change every message "
    "and the password. Give the broker's authority with cafile= (cacertfile= in a URL) instead of verify_none"
)


class InsecureTLSWarning(UserWarning):
    """TLS is used, but the broker's certificate is not verified."""


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """How to speak TLS with the broker.

    ``cafile`` is a PEM file with the authorities to trust (None: those of the system). ``certfile`` and ``keyfile``
    are the client's certificate and key (PEM); the key may stand in ``certfile``. ``server_hostname`` is the name that
    the certificate must carry, if it is not the host that is connected to. Errors: ConfigurationError.
    """

    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    key_password: Secret | None = None
    verify: bool = True
    server_hostname: str | None = None

    def __post_init__(self) -> None:
        for name in ("cafile", "certfile", "keyfile", "server_hostname"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value or "\0" in value):
                raise ConfigurationError(f"tls.{name} must be a text that is not empty, or None")
        if not isinstance(self.verify, bool):
            raise ConfigurationError(f"tls.verify must be True or False, not {type(self.verify).__name__}")
        if self.key_password is not None and not isinstance(self.key_password, Secret):
            raise ConfigurationError("tls.key_password must be a Secret or None: wrap it, Secret('…')")
        if self.keyfile is not None and self.certfile is None:
            raise ConfigurationError("tls.keyfile without tls.certfile: give the certificate that the key belongs to")

    def context(self) -> ssl.SSLContext:
        """A new SSLContext: TLS 1.2 or later, certificate and host name verified unless ``verify`` is False.

        Never asks at the terminal for a key's password. Raises ConfigurationError, which names the file.
        Warns (InsecureTLSWarning, and in the log) each time if ``verify`` is False.
        """
        import ssl

        context = self._trusting()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.verify:
            warnings.warn(_INSECURE, InsecureTLSWarning, stacklevel=2)
            logger.warning("%s", _INSECURE)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._load_client_certificate(context)
        return context

    def _trusting(self) -> ssl.SSLContext:
        import ssl

        if self.cafile is None:
            return ssl.create_default_context()
        _readable("cafile", self.cafile)
        try:
            return ssl.create_default_context(cafile=self.cafile)
        except OSError:  # ssl.SSLError is one
            raise ConfigurationError(
                f"tls.cafile {self.cafile!r} holds no certificate: it must be a PEM file (-----BEGIN CERTIFICATE-----)"
            ) from None

    def _load_client_certificate(self, context: ssl.SSLContext) -> None:
        if self.certfile is None:
            return
        _readable("certfile", self.certfile)
        if self.keyfile is not None:
            _readable("keyfile", self.keyfile)
        password = self.key_password.reveal() if self.key_password else ""
        try:
            context.load_cert_chain(self.certfile, self.keyfile, password=lambda: password)
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            raise ConfigurationError(
                f"tls.certfile {self.certfile!r} and the key in {self.keyfile or self.certfile!r} cannot be loaded: "
                "both must be PEM, the key must belong to the certificate, and an encrypted key needs tls.key_password"
            ) from None


def _readable(name: str, path: str) -> None:
    try:
        with open(path, "rb"):
            return
    except OSError as error:
        raise ConfigurationError(
            f"tls.{name} {path!r} cannot be read ({os.strerror(error.errno or 0)}): check the path and the permissions"
        ) from None
