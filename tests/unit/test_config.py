"""Settings from outside: the order of the sources, and where each value came from."""

import subprocess
import sys
import traceback
import warnings

import pytest

from rmqpool.config import DEFAULT_URL, explain, load_settings
from rmqpool.config_sources import UnknownVariableWarning
from rmqpool.errors import ConfigurationError
from rmqpool.secret import MASK, Secret

CANARY = "canary-7f3a"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory with a pyproject.toml without our table, and no variable of ours."""
    import os

    for variable in [name for name in os.environ if name.startswith("RMQPOOL_")]:
        monkeypatch.delenv(variable)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _table(folder, text):
    (folder / "pyproject.toml").write_text("[tool.rmqpool]\n" + text)


def _source(settings, name):
    return {explained.name: explained.source for explained in explain(settings)}[name]


def test_with_nothing_said_everything_is_a_default():
    """A local broker."""
    settings = load_settings()
    assert settings.url == Secret(DEFAULT_URL)
    assert settings.connection().hosts == (("127.0.0.1", 5672),)
    assert {explained.source for explained in explain(settings)} == {"default"}
    assert (settings.timeout, settings.channels_per_connection, settings.grace) == (30.0, 32, 30.0)


def test_argument_then_environment_then_file_then_default(folder, monkeypatch):
    """Each source wins over those after it, and the winner is named."""
    _table(folder, "timeout = 1\nmax_idle = 2\nmax-waiting = 3\n")
    monkeypatch.setenv("RMQPOOL_TIMEOUT", "10")
    monkeypatch.setenv("RMQPOOL_MAX_IDLE", "20")
    settings = load_settings(timeout=100)
    assert (settings.timeout, settings.max_idle, settings.max_waiting, settings.max_lifetime) == (100, 20, 3, 3600)
    assert _source(settings, "timeout") == "argument"
    assert _source(settings, "max_idle") == "environment RMQPOOL_MAX_IDLE"
    assert _source(settings, "max_waiting") == f"[tool.rmqpool] in {folder / 'pyproject.toml'}"
    assert _source(settings, "max_lifetime") == "default"


def test_an_argument_that_is_none_was_not_given(monkeypatch):
    """As the options of a command line are."""
    monkeypatch.setenv("RMQPOOL_GRACE", "5")
    settings = load_settings(grace=None)
    assert settings.grace == 5
    assert _source(settings, "grace") == "environment RMQPOOL_GRACE"


def test_an_empty_variable_was_not_set(monkeypatch):
    """Compose files write such."""
    monkeypatch.setenv("RMQPOOL_GRACE", "")
    assert load_settings().grace == 30


def test_a_secret_comes_from_a_file(folder, monkeypatch):
    """Without the line's end; the file is named as the source."""
    (folder / "secret").write_text(f"amqp://u:{CANARY}@h/\n")
    monkeypatch.setenv("RMQPOOL_URL_FILE", str(folder / "secret"))
    settings = load_settings()
    assert settings.connection().password == Secret(CANARY)
    assert _source(settings, "url") == f"file {folder / 'secret'} (environment RMQPOOL_URL_FILE)"


def test_only_the_password_may_be_the_secret(folder, monkeypatch):
    """The URL without it, the password beside it."""
    (folder / "secret").write_text(CANARY)
    monkeypatch.setenv("RMQPOOL_PASSWORD_FILE", str(folder / "secret"))
    settings = load_settings(url="amqp://u@h/")
    assert settings.connection().password == Secret(CANARY)
    assert [explained.value for explained in explain(settings)][:2] == [f"amqp://u:{MASK}@h:5672/%2F", MASK]


def test_a_variable_and_its_file_contradict_each_other(monkeypatch):
    """One of them is a mistake."""
    monkeypatch.setenv("RMQPOOL_URL", "amqp://h")
    monkeypatch.setenv("RMQPOOL_URL_FILE", "/x")
    with pytest.raises(ConfigurationError, match="RMQPOOL_URL and RMQPOOL_URL_FILE are both set"):
        load_settings()


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_named(folder, monkeypatch, content):
    """With its variable and the reason."""
    if content is not None:
        (folder / "secret").write_bytes(content)
    monkeypatch.setenv("RMQPOOL_URL_FILE", str(folder / "secret"))
    with pytest.raises(ConfigurationError, match=r"RMQPOOL_URL_FILE.*secret.*(No such file|UTF-8)"):
        load_settings()


def test_the_nearest_pyproject_counts(folder, monkeypatch):
    """Upwards from the working directory; the one above it is not read."""
    _table(folder, "timeout = 1\n")
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert load_settings().timeout == 1
    (folder / "a" / "pyproject.toml").write_text("")
    assert load_settings().timeout == 30


def test_an_unknown_key_of_pyproject_is_an_error_with_a_suggestion(folder):
    """The file is ours to check."""
    _table(folder, "hartbeat = 5\n")
    with pytest.raises(ConfigurationError, match=r"'hartbeat' \(\[tool.rmqpool\] in .*did you mean heartbeat"):
        load_settings()


def test_an_unknown_argument_is_an_error():
    """A typing error in a program."""
    with pytest.raises(ConfigurationError, match=r"'grce' \(argument\); did you mean grace"):
        load_settings(grce=5)


def test_an_unknown_variable_is_a_warning_with_a_suggestion(monkeypatch, caplog):
    """The environment is shared with other programs and later versions."""
    monkeypatch.setenv("RMQPOOL_HARTBEAT", CANARY)
    with pytest.warns(UnknownVariableWarning, match="RMQPOOL_HARTBEAT.*did you mean RMQPOOL_HEARTBEAT") as caught:
        load_settings()
    assert "RMQPOOL_HARTBEAT" in caplog.text
    assert CANARY not in caplog.text + str(caught[0].message)


def test_the_tests_own_variables_are_none_of_ours(monkeypatch):
    """RMQPOOL_TEST_…"""
    monkeypatch.setenv("RMQPOOL_TEST_AMQP_URL", "amqp://h")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_settings().url == Secret(DEFAULT_URL)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("heartbeat", "0"),
        ("heartbeat", "x"),
        ("blocked_timeout", "0"),
        ("publish_connections", "0"),
        ("channels_per_connection", "0"),
        ("timeout", "0"),
        ("timeout", "nan"),
        ("max_waiting", "-1"),
        ("prefetch", "2001"),
        ("concurrency", "0"),
        ("grace", "-1"),
        ("grace", "inf"),
        ("log_format", "xml"),
    ],
)
def test_a_wrong_value_is_named_with_its_source(monkeypatch, name, wrong):
    """Which setting, and where it stands."""
    monkeypatch.setenv(f"RMQPOOL_{name.upper()}", wrong)
    with pytest.raises(ConfigurationError, match=rf"{name} \(environment RMQPOOL_{name.upper()}\)"):
        load_settings()


@pytest.mark.parametrize("text", ["[tool", "[tool]\nrmqpool = 5\n", "\x00"])
def test_a_pyproject_that_is_wrong_is_named(folder, text):
    """Its path stands in the error."""
    (folder / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml"):
        load_settings()


def test_a_wrong_url_is_refused_at_once_with_its_source(monkeypatch):
    """And is not repeated."""
    monkeypatch.setenv("RMQPOOL_URL", f"amqp://u:{CANARY}@h:x/")
    with pytest.raises(ConfigurationError, match=r"url \(environment RMQPOOL_URL\): the port of host 1") as caught:
        load_settings()
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_setting_wins_over_the_urls_option_and_the_option_over_the_default():
    """heartbeat may stand in both."""
    assert load_settings(url="amqp://h?heartbeat=7").connection().heartbeat == 7
    assert load_settings(url="amqp://h?heartbeat=7", heartbeat=9).connection().heartbeat == 9
    assert load_settings(url="amqp://h").connection().heartbeat == 15


def test_nothing_shows_the_password():
    """repr, str, explain, and a validation error beside it."""
    settings = load_settings(url=f"amqp://u:{CANARY}@h/", password=CANARY)
    assert CANARY not in f"{settings!r} {settings} {explain(settings)}"
    with pytest.raises(ConfigurationError) as caught:
        load_settings(url=5, password=CANARY.split(), heartbeat=0)
    assert CANARY not in str(caught.value)


def test_the_settings_themselves_do_not_load_pydantic():
    """config is for programs; the library's values stand without it."""
    code = "import sys, rmqpool.settings, rmqpool.urls; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_choice_of_the_wires_path_is_no_unknown_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is documented, and read elsewhere: nobody is warned of it."""
    monkeypatch.setenv("RMQPOOL_WIRE", "pika")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_settings()
