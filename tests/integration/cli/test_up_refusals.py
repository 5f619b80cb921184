"""What ``up`` cannot do, it says: why, what to do, and with an exit code to rely on; and it leaves nothing."""

import os
import socket

import pytest

from clawstead_cli.adapters.machine_nginx import SITE_FILE
from tests.integration.cli.installation import Installation


def test_a_busy_port_is_named_with_its_holder_and_its_variable(installation: Installation) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", installation.port("API")))
        holder.listen()
        result = installation.run("up", "--detach")
    assert result.returncode == 3
    assert f"{installation.port('API')} for api" in result.stderr
    assert f"(pid {os.getpid()})" in result.stderr
    assert "CLAWSTEAD_API_PORT" in result.stderr
    assert installation.processes() == []


def test_no_docker_says_how_to_get_it(installation: Installation) -> None:
    result = installation.run("up", "--detach", DOCKER_HOST="unix:///nowhere/docker.sock")
    assert result.returncode == 3
    assert "there is no Docker engine" in result.stderr
    assert "make setup" in result.stderr


def test_a_missing_image_says_how_to_get_it(installation: Installation) -> None:
    result = installation.run("up", "--detach", CLAWSTEAD_IMAGE="absent:9")
    assert result.returncode == 3
    assert "docker pull absent:9" in result.stderr


def test_a_missing_program_says_how_to_install_it(installation: Installation) -> None:
    (installation.bin_dir / "clawstead-health").unlink()
    result = installation.run("up", "--detach")
    assert result.returncode == 3
    assert "clawstead-health" in result.stderr


def test_a_public_certificate_without_certbot_says_how_to_install_it(installation: Installation) -> None:
    changes = {"CLAWSTEAD_CERTIFICATES": "cloudflare", "CLAWSTEAD_CERTBOT_BINARY": "/nowhere/certbot"}
    result = installation.run("up", "--detach", **changes)
    assert result.returncode == 3
    assert "scripts/setup.sh --certbot" in result.stderr
    assert installation.processes() == []


@pytest.mark.skipif(SITE_FILE.exists(), reason="this machine's nginx has the edge already")
def test_an_edge_that_is_not_in_the_machines_nginx_says_how_it_gets_there(installation: Installation) -> None:
    result = installation.run("up", "--detach", CLAWSTEAD_EDGE_MODE="system")
    assert result.returncode == 3
    assert "clawstead edge install" in result.stderr
    assert installation.processes() == []


def test_a_wrong_setting_is_a_usage_error(installation: Installation) -> None:
    result = installation.run("up", CLAWSTEAD_NATS_PORT="high")
    assert result.returncode == 2
    assert "CLAWSTEAD_NATS_PORT" in result.stderr


def test_a_service_that_keeps_ending_is_named_with_its_last_words(installation: Installation) -> None:
    result = installation.run("up", "--detach", CLAWSTEAD_DUMMY_PROVISIONER="crash")
    assert result.returncode == 1
    assert "provisioner keeps ending" in result.stderr
    assert "cannot go on" in result.stderr
    assert installation.processes() == []


def test_a_service_that_is_not_ready_in_time_says_what_it_waits_for(installation: Installation) -> None:
    result = installation.run("up", "--detach", "--timeout", "5", CLAWSTEAD_DUMMY_PROVISIONER="unready")
    assert result.returncode == 1
    assert "provisioner (docker: engine is asleep)" in result.stderr
    assert installation.processes() == []


def test_a_failed_migration_stops_the_start(installation: Installation) -> None:
    result = installation.run("up", "--detach", CLAWSTEAD_DUMMY_API="migration-fails")
    assert result.returncode == 1
    assert "no such table: instances" in result.stderr
    assert installation.processes() == []


@pytest.mark.parametrize("command", ["apply", "show"])
def test_streams_without_a_server_is_not_reachable(installation: Installation, command: str) -> None:
    result = installation.run("streams", command, "--timeout", "1")
    assert result.returncode == 4
    assert "does not answer" in result.stderr


def test_a_password_in_the_url_is_never_shown(installation: Installation) -> None:
    url = f"nats://admin:canary@127.0.0.1:{installation.port('NATS')}"
    result = installation.run("streams", "show", "--timeout", "1", CLAWSTEAD_NATS_URL=url)
    assert "canary" not in result.stdout + result.stderr
