"""TLS verifies by default, is loud when it does not, and names the file that is wrong."""

import logging
import ssl
import traceback

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from rmqpool.errors import ConfigurationError
from rmqpool.secret import Secret
from rmqpool.tls import InsecureTLSWarning, TLSSettings

CANARY = "canary-7f3a"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority, a client certificate, its key in plain and under a password, and a file with nonsense."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    client = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    authority.issue_cert("other.example").private_key_pem.write_to_path(folder / "other.key")
    key = serialization.load_pem_private_key(client.private_key_pem.bytes(), None)
    (folder / "locked.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(CANARY.encode()),
        )
    )
    (folder / "nonsense.pem").write_text("nonsense")
    return folder


def test_the_default_verifies_certificate_and_host_name():
    """TLS 1.2 at least, the system's authorities."""
    context = TLSSettings().context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_ca_file_is_the_only_authority(files):
    """The system's authorities are not trusted beside it."""
    context = TLSSettings(cafile=str(files / "ca.pem")).context()
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_going_without_verification_warns_twice(caplog):
    """A warning for the developer, a log line for the operator."""
    with (
        caplog.at_level(logging.WARNING, "rmqpool.tls"),
        pytest.warns(InsecureTLSWarning, match="without verification"),
    ):
        context = TLSSettings(verify=False).context()
    assert context.verify_mode == ssl.CERT_NONE
    assert not context.check_hostname
    assert "without verification" in caplog.text


@pytest.mark.parametrize("keyfile", ["client.key", None])
def test_a_client_certificate_is_loaded(files, keyfile):
    """With its key in a file of its own, or in the same file."""
    certificate = files / ("client.pem" if keyfile else "both.pem")
    TLSSettings(certfile=str(certificate), keyfile=keyfile and str(files / keyfile)).context()


def test_a_locked_key_opens_with_its_password(files):
    """key_password is used."""
    certificate, key = str(files / "client.pem"), str(files / "locked.key")
    TLSSettings(certfile=certificate, keyfile=key, key_password=Secret(CANARY)).context()


@pytest.mark.parametrize("password", [None, Secret("wrong"), Secret("")])
def test_a_locked_key_without_its_password_fails_and_never_asks(files, password):
    """OpenSSL would ask at the terminal."""
    certificate, key = str(files / "client.pem"), str(files / "locked.key")
    with pytest.raises(ConfigurationError, match=r"locked\.key.*key_password"):
        TLSSettings(certfile=certificate, keyfile=key, key_password=password).context()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cafile": "missing.pem"}, r"cafile.*missing\.pem.*No such file"),
        ({"cafile": "nonsense.pem"}, r"cafile.*nonsense\.pem.*PEM"),
        ({"cafile": "."}, "cafile.*directory"),
        ({"certfile": "missing.pem"}, r"certfile.*missing\.pem"),
        ({"certfile": "nonsense.pem"}, r"certfile.*nonsense\.pem"),
        ({"certfile": "client.pem"}, r"certfile.*client\.pem.*key"),
        ({"certfile": "client.pem", "keyfile": "missing.key"}, r"keyfile.*missing\.key"),
        ({"certfile": "client.pem", "keyfile": "other.key"}, r"client\.pem.*other\.key"),
    ],
)
def test_a_file_that_is_wrong_is_named(files, fields, named):
    """And the error says what to do."""
    settings = TLSSettings(**{name: str(files / file) for name, file in fields.items()})
    with pytest.raises(ConfigurationError, match=named):
        settings.context()


@pytest.mark.parametrize(
    "fields",
    [{"cafile": ""}, {"certfile": 5}, {"keyfile": "key"}, {"verify": 1}, {"key_password": "text"}, {"cafile": "a\0"}],
)
def test_wrong_fields_are_refused_when_made(fields):
    """Before any file is opened."""
    with pytest.raises(ConfigurationError, match=r"tls\."):
        TLSSettings(**fields)


def test_the_keys_password_is_in_no_traceback(files):
    """Neither in repr."""
    settings = TLSSettings(
        certfile=str(files / "client.pem"), keyfile=str(files / "other.key"), key_password=Secret(CANARY)
    )
    with pytest.raises(ConfigurationError) as caught:
        settings.context()
    assert CANARY not in "".join(traceback.format_exception(caught.value)) + repr(settings)
