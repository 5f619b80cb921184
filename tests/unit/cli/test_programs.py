"""What runs, where it listens, what it may see."""

from pathlib import Path

import pytest

from clawstead_cli.bus_users import bus_users
from clawstead_cli.nats_conf import MAX_FILE_STORE_BYTES, nats_conf
from clawstead_cli.programs import MARK, environment, listeners, programs
from clawstead_cli.settings import Settings
from clawstead_shared.streams import BUCKETS, STREAMS


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def test_the_environment_holds_what_programs_need_and_nothing_else(settings: Settings) -> None:
    inherited = {
        "PATH": "/usr/bin",
        "CLAWSTEAD_DOMAIN": "claw.example",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "AWS_SECRET_ACCESS_KEY": "canary",
        "PYTHONPATH": "/elsewhere",
    }
    passed = environment(settings, inherited)
    assert passed == {
        "PATH": f"{settings.bin_dir}:/usr/bin",
        "CLAWSTEAD_DOMAIN": "claw.example",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "CLAWSTEAD_DATA_DIR": str(settings.data_dir),
        "CLAWSTEAD_NATS_URL": "nats://127.0.0.1:4222",
        MARK: str(settings.data_dir),
    }


def test_a_relative_data_directory_means_the_same_to_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(data_dir=Path("data"))
    assert environment(settings, {})["CLAWSTEAD_DATA_DIR"] == str(tmp_path / "data")


def test_every_port_can_be_moved_by_the_variable_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    for number, listener in enumerate(listeners(settings), start=20001):
        monkeypatch.setenv(listener.variable, str(number))
    moved = listeners(Settings(data_dir=tmp_path))
    assert [listener.port for listener in moved] == list(range(20001, 20001 + len(moved)))
    assert len(moved) == 10


def test_only_the_edge_listens_beyond_loopback(settings: Settings) -> None:
    public = {listener.variable for listener in listeners(settings) if listener.host != "127.0.0.1"}
    assert public == {"CLAWSTEAD_HTTPS_PORT", "CLAWSTEAD_HTTP_PORT"}


def test_the_ports_of_a_site_in_the_machines_nginx_are_not_ours_to_find_free(settings: Settings) -> None:
    inside = listeners(settings.model_copy(update={"edge_mode": "system"}))
    assert {listener.host for listener in inside} == {"127.0.0.1"}


def test_the_bus_is_started_first_with_durable_acknowledgements(settings: Settings) -> None:
    assert programs(settings)[0].name == "nats"
    text = nats_conf(settings, {user.name: "U" for user in bus_users()})
    assert "sync_interval: always" in text
    assert f'listen: "127.0.0.1:{settings.nats_port}"' in text


def test_the_store_has_room_for_every_reservation() -> None:
    reserved = sum(stream.max_bytes for stream in STREAMS) + sum(bucket.max_bytes for bucket in BUCKETS)
    assert reserved < MAX_FILE_STORE_BYTES


@pytest.mark.parametrize(
    ("url", "embedded"),
    [
        ("", True),
        ("nats://127.0.0.1:4222", True),
        ("nats://localhost", True),
        ("nats://127.0.0.1:4333", False),
        ("nats://bus.internal:4222", False),
    ],
)
def test_a_url_elsewhere_means_no_server_of_our_own(tmp_path: Path, url: str, embedded: bool) -> None:
    assert Settings(data_dir=tmp_path, nats_url=url).embedded_nats is embedded
