"""benchmarks/scenarios.py and growth.py: what is measured exists, and nothing is measured under two names."""

import ast
from pathlib import Path

import pytest

import benchmarks.clients
from benchmarks.entries import C_CLIENT, Entry, Scenario, find_entry
from benchmarks.measuring import SCENARIOS

CLIENTS = Path(benchmarks.clients.__file__).parent
ENTRIES = [entry for scenario in SCENARIOS for entry in scenario.entries]


def functions_of(client: str) -> set[str]:
    """The functions that a client's file defines, without importing its peer."""
    tree = ast.parse((CLIENTS / f"{client}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_has_its_client(entry: Entry) -> None:
    """The function, or the action of the C program, is there; and so is the one that fills the queue."""
    for client, action in [(entry.client, entry.action), *([entry.fill] if entry.fill else [])]:
        if client == C_CLIENT:
            assert f'"{action}"' in (CLIENTS / "librabbitmq.c").read_text()
        else:
            assert action in functions_of(client)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.key)
def test_names_are_unique_in_a_table(scenario: Scenario) -> None:
    """Each row is one client in one way of use."""
    names = [entry.name for entry in scenario.entries]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if not one.key.startswith("growth")])
def test_tables_begin_with_rmqpool(scenario: Scenario) -> None:
    """The first entry is the one that the ratios compare with."""
    assert scenario.entries[0].name.startswith("rmqpool")


def test_a_job_has_the_factor_times_the_messages() -> None:
    """Full mode does the same, longer."""
    entry = find_entry(SCENARIOS, "one", "kombu")
    assert entry.job("amqp://", "queue", 4).count == 4 * entry.count


def test_an_unknown_entry_is_a_key_error() -> None:
    """The error says what was looked for."""
    with pytest.raises(KeyError, match="one: rabbit-o-matic"):
        find_entry(SCENARIOS, "one", "rabbit-o-matic")
