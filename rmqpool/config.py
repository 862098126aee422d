"""Settings from outside: argument, then environment, then pyproject.toml, then default. Where each came from is kept.

Only programs import this module (the command line, a service's start-up); nothing in the library does, so that
``import rmqpool`` does not load pydantic.

``RMQPOOL_URL`` and its like come from the environment; ``RMQPOOL_URL_FILE`` names a file that holds the value, for
secrets. ``[tool.rmqpool]`` is read from the nearest pyproject.toml, from the working directory upwards.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from rmqpool.config_sources import Source, read_sources
from rmqpool.errors import ConfigurationError
from rmqpool.secret import MASK, Secret
from rmqpool.settings import ConnectionSettings
from rmqpool.url_options import suggestion
from rmqpool.urls import parse_url

__all__ = ["DEFAULT_URL", "Explained", "Settings", "explain", "load_settings"]

DEFAULT_URL = "amqp://guest:guest@127.0.0.1/"

_CONNECTION_FIELDS = ("password", "heartbeat", "blocked_timeout")


def _as_secret(value: object) -> object:
    return Secret(value) if isinstance(value, str) else value


SecretText = Annotated[Secret, BeforeValidator(_as_secret)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What programs on rmqpool read from outside. Make it with :func:`load_settings`. Times are seconds.

    ``password`` replaces the URL's. ``heartbeat`` and ``blocked_timeout`` None leave it to the URL's options and
    ConnectionSettings' defaults. ``channels_per_connection`` is how many channels are leased at most on a connection.
    ``max_waiting`` 0 is no limit; ``leak_after`` None reports no leases. ``concurrency`` and ``prefetch`` None leave it to
    each consumer. ``postgres_url`` is the outbox's database, ``postgres_replica_url``
    a read-only replica of it.
    """

    model_config = SettingsConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True, frozen=True, validate_default=True
    )

    url: SecretText = Secret(DEFAULT_URL)
    password: SecretText | None = None
    heartbeat: Annotated[int, Field(ge=1, le=3600)] | None = None
    blocked_timeout: Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)] | None = None
    publish_connections: Annotated[int, Field(ge=1, le=64)] = 1
    consume_connections: Annotated[int, Field(ge=1, le=64)] = 1
    channels_per_connection: Annotated[int, Field(ge=1, le=2000)] = 32
    timeout: Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)] = 30.0
    max_waiting: Annotated[int, Field(ge=0)] = 0
    max_lifetime: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600.0
    max_idle: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    leak_after: Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    prefetch: Annotated[int, Field(ge=1, le=2000)] | None = None  # quorum queues take at most 2,000
    grace: Seconds = 30.0
    log_format: Literal["text", "json"] = "text"
    postgres_url: SecretText | None = None
    postgres_replica_url: SecretText | None = None

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing behind the caller's back: load_settings reads the sources, so that each value's origin is known."""
        return (init_settings,)

    def connection(self) -> ConnectionSettings:
        """The connection's settings: those of the URL, and over them what was set here. Raises ConfigurationError."""
        given = {name: getattr(self, name) for name in _CONNECTION_FIELDS if getattr(self, name) is not None}
        return parse_url(self.url.reveal(), **given)


class Explained(NamedTuple):
    """A setting, its value as text without secrets, and its source."""

    name: str
    value: str
    source: str


def load_settings(**arguments: Any) -> Settings:
    """The settings of this process. An argument that is None counts as not given, as a command line's option does.

    Raises ConfigurationError for a wrong value (with its source), an unknown key of ``[tool.rmqpool]`` or argument, a
    file that cannot be read, and a variable given both directly and as a file. An unknown ``RMQPOOL_`` variable is a
    warning (UnknownVariableWarning): the environment is shared, also with later versions.
    """
    known = frozenset(Settings.model_fields)
    sources = [
        Source({name: value for name, value in arguments.items() if value is not None}, lambda _: "argument"),
        *read_sources(known),
    ]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        for name, value in source.values.items():
            if name not in values:
                values[name], origins[name] = value, source.origin(name)
    for name in values:
        if name not in known:
            raise ConfigurationError(f"unknown setting {name!r} ({origins[name]}){suggestion(name, known)}")
    settings = _validated(values, origins)
    settings._origins.update(origins)
    _check_url(settings)
    return settings


def _check_url(settings: Settings) -> None:
    try:
        settings.connection()
    except ConfigurationError as error:
        raise ConfigurationError(f"url ({settings._origins.get('url', 'default')}): {error}") from None


def _validated(values: dict[str, Any], origins: dict[str, str]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        told = [
            f"{fault['loc'][0]} ({origins.get(str(fault['loc'][0]), 'default')}): {fault['msg']}" for fault in faults
        ]
    raise ConfigurationError(f"wrong setting: {'; '.join(told)}")


def explain(settings: Settings) -> list[Explained]:
    """Every setting with its value and where it came from, without secrets."""
    return [
        Explained(name, _shown(settings, name), settings._origins.get(name, "default"))
        for name in Settings.model_fields
    ]


def _shown(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    if name == "url":
        url = settings.url.reveal()
        masked = {} if url.lower().startswith("agent:") else {"password": MASK}  # an agent's takes none
        return parse_url(url, **masked).redacted_url()
    return "" if value is None else str(value)
