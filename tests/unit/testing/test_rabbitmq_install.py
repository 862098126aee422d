"""A lean view on an installed RabbitMQ, made of files that look like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.rabbitmq_install import RabbitMQInstall, without_modules


def description(name: str, *needed: str) -> str:
    """An application with two modules, in Erlang's own style."""
    modules = f"  {{modules,\n    [ % a comment\n     {name}_app,\n     {name}_sup\n    ]}},\n"
    return f'{{application, {name},\n [{{vsn, "1"}},\n{modules}  {{applications, [{", ".join(needed)}]}}]}}.\n'


@pytest.fixture
def install(tmp_path: Path) -> RabbitMQInstall:
    """RabbitMQ with a plugin, what they need, and a plugin that nobody asks for; Erlang's own applications beside it."""
    home = tmp_path / "usr/lib/rabbitmq/lib/rabbitmq_server-1"
    needed = {
        "rabbit": ("kernel", "ranch", "rabbit_common"), "rabbit_common": ("ssl",), "rabbitmq_prelaunch": (),
        "ranch": ("ssl",), "khepri": ("rabbit",), "extension": ("rabbit",), "rabbitmq_unused": ("rabbit",),
    }  # fmt: skip
    for name, requirements in needed.items():
        folder = home / "plugins" / f"{name}-1.0" / "ebin"
        folder.mkdir(parents=True)
        (folder / f"{name}.app").write_text(description(name, *requirements))
    for name in ("kernel", "ssl", "wx"):
        folder = tmp_path / f"usr/lib/erlang/lib/{name}-2.0/ebin"
        folder.mkdir(parents=True)
        (folder / f"{name}.app").write_text(description(name))
    for file in tmp_path.glob("usr/lib/**/ebin/*.app"):
        for part in ("app", "sup"):
            (file.parent / f"{file.stem}_{part}.beam").write_bytes(b"FOR1")
    return RabbitMQInstall(home, tmp_path)


def test_a_lean_home_has_what_is_needed_and_no_more(install: RabbitMQInstall, tmp_path: Path) -> None:
    """Links to the plugins, and to RabbitMQ's programs."""
    lean = tmp_path / "lean"
    lean.mkdir()
    install.lean_home(lean, ("extension",))
    assert {path.name.partition("-")[0] for path in (lean / "plugins").iterdir()} == {
        "rabbit", "rabbit_common", "rabbitmq_prelaunch", "ranch", "extension",
    }  # fmt: skip
    assert (lean / "sbin").is_symlink()


def test_only_erlangs_own_applications_name_no_modules(install: RabbitMQInstall, tmp_path: Path) -> None:
    """RabbitMQ finds nothing of its own in them; the rest of a description stays."""
    lean = tmp_path / "lean"
    lean.mkdir()
    install.lean_home(lean, ("extension",))
    files = {path.name: path.read_text() for path in (lean / "applications").iterdir()}
    assert set(files) == {"kernel.app", "ssl.app"}
    for text in files.values():
        assert "{modules, []}" in text
        assert "_sup" not in text
        assert '{vsn, "1"}' in text
    assert next((lean / "plugins").glob("ranch-*")).is_symlink()


def test_khepri_is_told_which_modules_are_erlangs(install: RabbitMQInstall, tmp_path: Path) -> None:
    """RabbitMQ 4's database does not start otherwise: the descriptions are left as they are."""
    (tmp_path / "lean").mkdir()
    install.lean_home(tmp_path / "lean", ("khepri",))
    assert list((tmp_path / "lean/applications").iterdir()) == []


def test_what_is_loaded_in_any_case_is_listed(install: RabbitMQInstall) -> None:
    """The modules of RabbitMQ, of the plugins and of what is there before them; not those of Erlang's that wait to be called."""
    assert set(install.modules(("extension",))) == {
        f"{name}_{part}"
        for name in ("rabbit", "rabbit_common", "rabbitmq_prelaunch", "ranch", "extension", "kernel")
        for part in ("app", "sup")
    }


def test_a_description_that_names_no_modules_is_left_as_it_is() -> None:
    """Nothing to take away, nothing changed."""
    text = '{application, a, [{vsn, "1"}, {applications, []}]}.'
    assert without_modules(text) == text


def test_an_unknown_plugin_is_named(install: RabbitMQInstall, tmp_path: Path) -> None:
    """Before anything is started."""
    (tmp_path / "lean").mkdir()
    with pytest.raises(ServicesError, match="has no plugin 'no_such_plugin'"):
        install.lean_home(tmp_path / "lean", ("no_such_plugin",))
