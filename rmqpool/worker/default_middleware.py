"""What stands around a consumer's handlings without being asked for: nothing that costs.

Only where somebody listens to the DEBUG level anyway, as with ``rmqpool worker --log-level debug``, each message is logged.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from rmqpool.middlewares.logs import LOGGER, Logging
from rmqpool.worker.registration import ConsumerDefinition

__all__ = ["with_default_middleware"]


def with_default_middleware(definition: ConsumerDefinition) -> ConsumerDefinition:
    """The same consumer; with Logging at DEBUG outside its middleware if that is listened to, and it has no Logging yet."""
    if not logging.getLogger(LOGGER).isEnabledFor(logging.DEBUG):
        return definition
    if any(isinstance(one, Logging) for one in definition.middleware):
        return definition
    return replace(definition, middleware=(Logging(logging.DEBUG), *definition.middleware))
