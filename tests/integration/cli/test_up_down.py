"""``up``, ``down``, ``status``: real supervisord, real nats-server, dummy services."""

import json
import signal
import stat
import subprocess

import psutil
import pytest

from clawstead_cli.programs import MARK, Service
from tests.integration.cli.installation import Installation
from tests.support.wait import wait_until

NAMES = {"nats", *(service.value for service in Service)}


async def test_up_starts_everything_says_where_it_is_and_down_stops_all_of_it(installation: Installation) -> None:
    shown = installation.up().stdout
    assert f"https://claw.localhost:{installation.port('HTTPS')}/api/v1" in shown
    assert "claw_dummy" in shown
    assert str(installation.data_dir / "proxy-sync" / "tls" / "ca.pem") in shown
    status = installation.status()
    assert status["ready"]
    assert {service["name"] for service in status["services"]} == NAMES
    assert len({service["pid"] for service in status["services"]}) == len(NAMES), "one process each"

    stopped = installation.run("down")
    assert (stopped.returncode, stopped.stdout) == (0, "Clawstead is stopped.\n")
    assert installation.processes() == []
    assert installation.run("status").returncode == 4


async def test_down_again_is_success(installation: Installation) -> None:
    for _ in range(2):
        result = installation.run("down")
        assert (result.returncode, result.stdout) == (0, "Clawstead was not running.\n")


async def test_up_again_says_so_and_starts_nothing_twice(installation: Installation) -> None:
    installation.up()
    before = installation.pids()
    again = installation.up().stdout
    assert "is up already" in again
    assert f"https://claw.localhost:{installation.port('HTTPS')}" in again
    assert installation.pids() == before


async def test_a_later_start_resumes_the_data_and_shows_no_token(installation: Installation) -> None:
    installation.up()
    installation.run("down")
    assert "clawstead token --new" in installation.up().stdout
    outcomes = {row["outcome"] for row in json.loads(installation.run("streams", "apply", "--json").stdout)}
    assert outcomes == {"unchanged"}


async def test_commands_find_a_platform_whose_ports_their_environment_does_not_know(
    installation: Installation,
) -> None:
    installation.up()
    shown = installation.run("status", "--json", CLAWSTEAD_API_PORT="1", CLAWSTEAD_HTTPS_PORT="9999").stdout
    status = json.loads(shown)
    assert status["ready"]
    assert status["url"].endswith(f":{installation.port('HTTPS')}")


async def test_a_killed_process_comes_back(installation: Installation) -> None:
    installation.up()
    before = installation.pids()
    for name in ("health", "nats"):
        psutil.Process(before[name]).kill()

    def fresh() -> bool:
        status = installation.status()
        pids = {service["name"]: service["pid"] for service in status["services"]}
        return bool(status["ready"]) and all(pids[name] not in {None, before[name]} for name in ("health", "nats"))

    await wait_until(fresh, timeout=20, what="both are back")
    assert installation.pids()["api"] == before["api"]


async def test_processes_see_only_what_they_need(installation: Installation) -> None:
    installation.up()
    for name, pid in installation.pids().items():
        environment = psutil.Process(pid).environ()
        assert "UNRELATED_SECRET" not in environment
        assert bool(environment.get("CLAWSTEAD_ADMIN_TOKEN")) == (name == "api")
        assert bool(environment.get("CLOUDFLARE_API_TOKEN")) == (name == "proxy-sync")
        assert environment[MARK] == str(installation.data_dir)
    socket = installation.data_dir / "run" / "supervisor.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


async def test_a_supervisor_killed_outright_is_noticed_and_its_orphans_are_replaced(
    installation: Installation,
) -> None:
    installation.up()
    before = installation.pids()
    installation.supervisor().kill()
    await wait_until(lambda: installation.run("status").returncode == 4)
    assert all(map(psutil.pid_exists, before.values())), "orphans still hold the ports"
    assert "Clawstead is up" in installation.up().stdout
    assert not set(before.values()) & set(installation.pids().values())
    assert not any(map(psutil.pid_exists, before.values()))


async def test_down_ends_what_a_killed_supervisor_left(installation: Installation) -> None:
    installation.up()
    installation.supervisor().kill()
    assert installation.run("down").returncode == 0
    assert installation.processes() == []


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Return what a process prints up to the line with ``text``."""
    assert process.stdout
    seen = ""
    while text not in seen:
        line = process.stdout.readline()
        assert line, f"it ended without {text!r}: {seen}"
        seen += line
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_foreground_shows_logs_until_told_to_stop(installation: Installation, number: signal.Signals) -> None:
    process = installation.popen("up")
    read_until(process, "Ctrl-C stops everything")
    psutil.Process(installation.pids()["health"]).kill()
    read_until(process, "health      ready")
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "Clawstead is stopped" in rest
    assert installation.processes() == []


async def test_the_foreground_ends_when_another_command_stops_the_platform(installation: Installation) -> None:
    process = installation.popen("up")
    await wait_until(lambda: installation.run("status").returncode == 0, timeout=30)
    installation.run("down")
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped by another command" in rest


async def test_up_killed_in_the_foreground_leaves_a_platform_that_the_next_one_finds(
    installation: Installation,
) -> None:
    process = installation.popen("up")
    await wait_until(lambda: installation.run("status").returncode == 0, timeout=30)
    before = installation.pids()
    process.kill()
    process.communicate()
    assert "is up already" in installation.up().stdout
    assert installation.pids() == before


async def test_a_start_killed_half_way_is_completed_by_the_next(installation: Installation) -> None:
    process = installation.popen("up", "--detach", CLAWSTEAD_DUMMY_API="slow-migration")
    await wait_until(lambda: installation.pids().get("nats"), timeout=30)
    process.kill()
    process.communicate()
    assert installation.pids()["api"] is None
    assert "is up already" in installation.up().stdout
    assert installation.status()["ready"]


async def test_up_on_a_platform_that_is_not_ready_says_so_and_leaves_it_running(installation: Installation) -> None:
    process = installation.popen("up", "--detach", CLAWSTEAD_DUMMY_HEALTH="unready")
    await wait_until(lambda: installation.pids().get("terminal"), timeout=30)
    process.kill()
    process.communicate()
    before = installation.pids()
    result = installation.run("up", "--detach", "--timeout", "3")
    assert result.returncode == 1
    assert "health (docker: engine is asleep)" in result.stderr
    assert installation.pids() == before


async def test_an_interrupted_start_stops_what_it_started(installation: Installation) -> None:
    process = installation.popen("up", CLAWSTEAD_DUMMY_TERMINAL="unready")
    await wait_until(lambda: len(installation.processes()) == len(NAMES) + 1, timeout=30)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "everything is stopped" in rest
    assert installation.processes() == []
