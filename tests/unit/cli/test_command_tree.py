"""Every command explains itself, tells its exit codes, and speaks JSON where it prints data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from clawstead_cli.app import app
from clawstead_cli.errors import CommandError

WITHOUT_DATA = {"up", "down", "version"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command that can be run, with what is typed for it."""
    inner = getattr(command, "commands", {})
    for name, each in inner.items():
        yield from leaves(each, (*path, name))
    if not inner or (path and command.invoke_without_command):
        yield " ".join(path), command


WHOLE = typer.main.get_command(app)
COMMANDS = dict(leaves(WHOLE))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_explained_with_all_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[name]
    assert command.help
    unexplained = [each.name for each in command.params if not getattr(each, "help", None)]
    assert not unexplained
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(SystemExit) as ended:
        WHOLE([*name.split(), "--help"], "clawstead")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "Exit codes: 0 done" in " ".join(shown.split()) or hasattr(command, "commands")


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_DATA))
def test_every_command_that_prints_data_prints_json_too(name: str) -> None:
    assert "--json" in [option for each in COMMANDS[name].params for option in each.opts]


def test_no_command_takes_a_secret_from_its_arguments_alone() -> None:
    for command in COMMANDS.values():
        for each in command.params:
            if each.name == "token" and "--token" in each.opts:
                assert each.envvar
            if each.name in {"bot_token", "api_key"}:
                assert f"{each.name}_file" in [other.name for other in command.params]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("instances", "create", "--name", "x"), 2, "--plan"),
        (("instances", "list"), 2, "CLAWSTEAD_ADMIN_TOKEN"),
        (("check-health",), 2, "--all"),
        (("validate", "x", "--all"), 2, "--all"),
        (("audit", "--since", "soon"), 2, "soon"),
        (("audit", "--since", "5", "--token", "t"), 2, "no time"),
        (("status", "--watch", "--json"), 2, "--watch"),
        (("doctor", "--data-dir", "/nowhere"), 3, "--data-dir"),
        (("logs", "shop"), 2, "provisioner"),
        *(
            ((*command, "--token", "t", "--url", "http://127.0.0.1:1"), 4, "API")
            for command in (
                ("instances", "list"),
                ("instances", "show", "x"),
                ("check-health", "--all"),
                ("restart", "x"),
                ("validate", "--all"),
                ("audit",),
                ("audit", "verify"),
                ("logs", "shop"),
            )
        ),
    ],
)
def test_what_cannot_work_is_said_with_its_exit_code(
    arguments: tuple[str, ...], code: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb", "CLAWSTEAD_ADMIN_TOKEN": ""}
    )
    error = result.exception
    ended = error.exit_code if isinstance(error, CommandError) else result.exit_code
    hint = error.hint if isinstance(error, CommandError) else ""
    assert (ended, said in f"{error} {hint} {result.output}") == (code, True), (error, result.output)


def test_completion_can_be_installed() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "--install-completion" in shown
