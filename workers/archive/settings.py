"""What the archive is told by the environment. Its database is that of the outbox: ``RMQPOOL_POSTGRES_URL``."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from workers.environment import WorkerSettings

__all__ = ["PREFIX", "ArchiveSettings"]

PREFIX: Final = "ARCHIVE_"


class ArchiveSettings(WorkerSettings):
    """``batch`` messages at most are stored at once, ``batch_timeout`` seconds after the first one at the latest.

    ``table`` may have a schema. With ``exchange`` the queue is bound to it, by ``routing_key``.
    """

    queue: Annotated[str, Field(min_length=1, max_length=255)] = "archive"
    table: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,49}(\.[a-z_][a-z0-9_]{0,49})?$")] = "archived_messages"
    exchange: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    routing_key: Annotated[str, Field(max_length=255)] = "#"
    batch: Annotated[int, Field(ge=1, le=2000)] = 500
    batch_timeout: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.5
    concurrency: Annotated[int, Field(ge=1, le=32)] = 1
    max_attempts: Annotated[int, Field(ge=1, le=10_000)] = 100

    @model_validator(mode="after")
    def _fits_into_the_prefetch(self) -> Self:
        if self.batch * self.concurrency > 2000:
            raise ValueError(
                f"{PREFIX}BATCH times {PREFIX}CONCURRENCY is {self.batch * self.concurrency}: a quorum queue hands over "
                "2000 messages at most, so no batch would be full; lower one of them"
            )
        return self
