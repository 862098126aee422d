"""The settings of ready-to-run workers: what is misspelt is told, and what belongs to others is not."""

from __future__ import annotations

import warnings

import pytest

from rmqpool.config_sources import UnknownVariableWarning
from workers.environment import read_settings
from workers.shovel.settings import PREFIX, ShovelSettings

GIVEN = {"SHOVEL_FROM_QUEUE": "orders", "SHOVEL_TO_URL": "amqp://there", "SHOVEL_TO_QUEUE": "orders"}


@pytest.mark.parametrize(
    ("misspelt", "meant"), [("SHOVEL_RAT", "SHOVEL_RATE"), ("SHOVEL_TO_ROUTINGKEY_FILE", "SHOVEL_TO_ROUTING_KEY")]
)
def test_a_misspelt_variable_is_warned_of(misspelt: str, meant: str) -> None:
    """Otherwise its setting would silently keep its default."""
    with pytest.warns(UnknownVariableWarning, match=f"{misspelt} in the environment; did you mean {meant}\\?"):
        read_settings(ShovelSettings, PREFIX, {**GIVEN, misspelt: "7"})


def test_variables_of_the_platform_are_left_alone() -> None:
    """Kubernetes sets some that begin with the name of each service."""
    others = {"SHOVEL_SERVICE_HOST": "10.0.0.1", "SHOVEL_PORT": "tcp://10.0.0.1:80", "SHOVEL_PORT_80_TCP_PROTO": "tcp"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_settings(ShovelSettings, PREFIX, {**GIVEN, **others}).from_queue == "orders"
