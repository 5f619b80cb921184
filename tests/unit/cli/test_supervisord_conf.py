"""What the supervisor is told."""

from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from clawstead_cli.bus_seeds import ensure_seeds
from clawstead_cli.programs import Service, programs
from clawstead_cli.settings import Settings
from clawstead_cli.supervisord_conf import STOP_SECONDS, supervisord_conf


def parsed(settings: Settings) -> ConfigParser:
    # As supervisord itself reads it, comments within lines included.
    config = ConfigParser(interpolation=None, inline_comment_prefixes=(";", "#"))
    config.read_string(supervisord_conf(settings, programs(settings), open_files=4096))
    return config


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def test_every_service_is_restarted_for_ever_and_given_time_to_stop(settings: Settings) -> None:
    config = parsed(settings)
    for service in Service:
        section = config[f"program:{service}"]
        assert section["autorestart"] == "true"
        assert int(section["startretries"]) > 100_000
        assert int(section["stopwaitsecs"]) == STOP_SECONDS > 25


def test_services_stop_before_the_server_they_talk_through(settings: Settings) -> None:
    config = parsed(settings)
    assert int(config["group:services"]["priority"]) > int(config["program:nats"]["priority"])
    assert config["group:services"]["programs"].split(",") == [service.value for service in Service]


def test_only_the_owner_may_control_it(settings: Settings) -> None:
    assert parsed(settings)["unix_http_server"]["chmod"] == "0600"


def test_secrets_reach_only_the_programs_that_need_them(settings: Settings) -> None:
    config = parsed(settings)
    secrets = {
        "CLAWSTEAD_ADMIN_TOKEN",
        "CLAWSTEAD_DATABASE_URL",
        "CLAWSTEAD_HEALTH_DATABASE_URL",
        "CLOUDFLARE_API_TOKEN",
    }
    seen = {
        "api": {"CLAWSTEAD_ADMIN_TOKEN", "CLAWSTEAD_DATABASE_URL"},
        "health": {"CLAWSTEAD_HEALTH_DATABASE_URL"},
        "proxy-sync": {"CLOUDFLARE_API_TOKEN"},
    }
    for program in programs(settings):
        emptied = config[f"program:{program.name}"]["environment"].split(",")
        assert {item.removesuffix('=""') for item in emptied} - {"CLAWSTEAD_NATS_SEED_FILE"} == secrets - seen.get(
            program.name, set()
        )


def test_every_service_gets_its_own_key_and_the_server_none(settings: Settings) -> None:
    ensure_seeds(settings.seeds_dir)
    config = parsed(settings)
    for service in Service:
        own = f'CLAWSTEAD_NATS_SEED_FILE="{settings.seeds_dir / service}.nk"'
        environment = config[f"program:{service}"]["environment"]
        assert own in environment
        assert environment.count(".nk") == 1
    assert 'CLAWSTEAD_NATS_SEED_FILE=""' in config["program:nats"]["environment"]


@pytest.mark.parametrize(
    "changes",
    [{"nats_seed_file": Path("/etc/nats/all.nk")}, {"nats_url": "nats://user:secret@10.0.0.5:4222"}],
)
def test_what_the_operator_says_about_keys_holds_for_all(settings: Settings, changes: dict[str, Any]) -> None:
    ensure_seeds(settings.seeds_dir)
    config = parsed(settings.model_copy(update=changes))
    assert all('CLAWSTEAD_NATS_SEED_FILE="/' not in section.get("environment", "") for section in config.values())


def test_logs_are_rotated_files(settings: Settings) -> None:
    section = parsed(settings)["program:api"]
    assert section["stdout_logfile"] == str(settings.log_dir / "api.log")
    assert section["redirect_stderr"] == "true"
    assert int(section["stdout_logfile_maxbytes"]) > 0


def test_a_server_elsewhere_is_used_and_none_is_started(tmp_path: Path) -> None:
    config = parsed(Settings(data_dir=tmp_path, nats_url="nats://user:secret@10.0.0.5:4222"))
    assert "program:nats" not in config
    assert config["group:services"]["programs"].startswith("api,")
