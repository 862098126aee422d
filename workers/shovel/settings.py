"""What the shovel is told by the environment. Its source broker is the worker's own: ``RMQPOOL_URL``, or ``--url``."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from rmqpool.errors import ConfigurationError
from rmqpool.secret import Secret
from rmqpool.urls import parse_url
from workers.environment import SecretText, WorkerSettings

__all__ = ["PREFIX", "ShovelSettings"]

PREFIX: Final = "SHOVEL_"
_LONGEST_WAIT: Final = 60  # seconds that a message may wait in the worker for its turn

Name = Annotated[str, Field(min_length=1, max_length=255)]


class ShovelSettings(WorkerSettings):
    """To a queue, or to an exchange with each message's own routing key, or with ``to_routing_key``.

    ``rate`` is messages a second; None is no limit. ``window``: messages on their way at once; 1 keeps their order.
    ``timeout``: seconds that one confirm may take before the message is sent again.
    """

    from_queue: Name = Field(description="the queue whose messages are to be moved")
    to_url: SecretText = Field(
        description="where they go: the amqp:// URL of a broker and virtual host, the same one or another"
    )
    to_queue: Name | None = None
    to_exchange: Name | None = None
    to_routing_key: Annotated[str, Field(max_length=255)] | None = None
    rate: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    window: Annotated[int, Field(ge=1, le=1000)] = 100
    timeout: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 30.0

    @field_validator("to_url")
    @classmethod
    def _is_a_broker(cls, url: Secret) -> Secret:
        try:
            parse_url(url.reveal())
        except ConfigurationError as error:  # repeats nothing of the URL
            raise ValueError(str(error)) from None
        return url

    @model_validator(mode="after")
    def _has_one_target(self) -> Self:
        if (self.to_queue is None) == (self.to_exchange is None):
            raise ValueError(f"set either {PREFIX}TO_QUEUE or {PREFIX}TO_EXCHANGE")
        if self.to_routing_key is not None and self.to_exchange is None:
            raise ValueError(f"{PREFIX}TO_ROUTING_KEY goes with {PREFIX}TO_EXCHANGE; {PREFIX}TO_QUEUE needs none")
        return self

    @property
    def target(self) -> str:
        """For people."""
        return f"queue {self.to_queue!r}" if self.to_queue is not None else f"exchange {self.to_exchange!r}"

    @property
    def at_once(self) -> int:
        """Messages held at once: with a low rate fewer than the window, so that none waits long for its turn."""
        return self.window if self.rate is None else max(1, min(self.window, int(self.rate * _LONGEST_WAIT)))
