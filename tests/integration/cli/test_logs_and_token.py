"""``clawstead logs`` and ``clawstead token``."""

import json

from tests.integration.cli.installation import Installation


def test_logs_shows_the_newest_lines_of_one_service(installation: Installation) -> None:
    installation.up()
    shown = installation.run("logs", "proxy-sync", "--lines", "2").stdout.splitlines()
    assert len(shown) == 2
    assert shown[0].startswith("03:04:05.678 proxy-sync  ready")
    assert "[INF]" not in installation.run("logs", "nats").stdout


def test_logs_of_what_is_no_process_asks_the_api_and_lists_the_processes(installation: Installation) -> None:
    for token, code in (("", 2), ("canary-token", 4)):
        result = installation.run("logs", "unknown", CLAWSTEAD_ADMIN_TOKEN=token)
        assert result.returncode == code
        assert "API" in result.stderr
        assert "proxy-sync" in result.stderr


def test_logs_for_programs_are_as_they_are_stored(installation: Installation) -> None:
    installation.up()
    shown = installation.run("logs", "proxy-sync", "--lines", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["event"] for line in shown]


def test_logs_before_the_first_start_says_so(installation: Installation) -> None:
    result = installation.run("logs", "api")
    assert result.returncode == 1
    assert "clawstead up" in result.stderr


def test_a_token_is_shown_when_it_is_made_and_never_again(installation: Installation) -> None:
    installation.data_dir.mkdir()
    assert installation.run("token").stdout == "claw_dummy\n"
    second = installation.run("token")
    assert second.stdout == ""
    assert "token --new" in second.stderr
    assert installation.run("token", "--new").stdout == "claw_dummy\n"


def test_version_and_help_answer_without_anything_running(installation: Installation) -> None:
    assert installation.run("version").stdout.strip() == "0.1.0"
    assert "Exit codes" in installation.run("--help").stdout
