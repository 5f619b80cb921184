"""Who may do what on the bus: the table, the text made of it, and the keys."""

from pathlib import Path

import pytest

from clawstead_cli.bus_accounts import bus_accounts
from clawstead_cli.bus_seeds import ensure_seeds
from clawstead_cli.bus_store import adopt_store
from clawstead_cli.bus_users import BusUser, bus_users
from clawstead_cli.errors import CommandError
from clawstead_cli.nats_conf import nats_conf
from clawstead_cli.programs import Service
from clawstead_cli.settings import Settings
from clawstead_shared.streams import SECRETS_BUCKET, WRITERS
from clawstead_shared.subjects import Topic, all_of

USERS = {user.name: user for user in bus_users()}
LIMITED = [user for user in bus_users() if user.name != "operator"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def test_every_service_is_a_user_and_beside_them_only_the_operator() -> None:
    assert set(USERS) == {service.value for service in Service} | {"operator"}


@pytest.mark.parametrize("topic", Topic)
def test_a_topic_has_one_writer(topic: Topic) -> None:
    assert [user.name for user in LIMITED if all_of(topic) in user.publish] == [WRITERS[topic]]


@pytest.mark.parametrize("user", LIMITED, ids=lambda user: str(user.name))
def test_nobody_but_the_operator_has_more_than_is_listed(user: BusUser) -> None:
    wide = {">", "*", "clawstead.>", "clawstead.v1.>", "clawstead.v1.*.*", "$JS.>", "$JS.API.>", "$KV.>", "_INBOX.>"}
    assert not wide & {*user.publish, *user.subscribe}
    assert len(set(user.publish)) == len(user.publish)
    assert user.subscribe[0] == f"_INBOX.{user.name}.>"
    assert not any("STREAM.DELETE" in subject or "PURGE" in subject for subject in user.publish)


@pytest.mark.parametrize("user", [user for user in LIMITED if not user.trusted], ids=lambda user: str(user.name))
def test_a_service_makes_no_consumers_and_reads_secrets_only_if_they_are_meant_for_it(user: BusUser) -> None:
    declaring = ("CREATE", "UPDATE", "DELETE")
    assert not any(word in subject for word in declaring for subject in user.publish)
    reads_secrets = any(SECRETS_BUCKET in subject for subject in user.publish)
    assert reads_secrets == (user.name in {"api", "provisioner"})


def test_only_the_keeper_and_the_operator_share_the_account_of_the_streams() -> None:
    assert {user.name for user in USERS.values() if user.trusted} == {"keeper", "operator"}


def test_the_configuration_knows_public_keys_and_lets_in_nobody_else(settings: Settings) -> None:
    keys = ensure_seeds(settings.seeds_dir)
    text = nats_conf(settings, keys)
    assert all(text.count(f"{{nkey: {key}, permissions: ") == 1 for key in keys.values())
    assert not any(path.read_text() in text for path in settings.seeds_dir.iterdir())
    assert "no_auth_user" not in text
    assert bus_accounts(keys) in text
    assert text.count("jetstream: enabled") == 1


def test_keys_are_made_once_and_only_their_owner_may_read_them(settings: Settings) -> None:
    keys = ensure_seeds(settings.seeds_dir)
    (settings.seeds_dir / "api.nk").unlink()
    again = ensure_seeds(settings.seeds_dir)
    assert {user for user in keys if keys[user] != again[user]} == {"api"}
    assert settings.seeds_dir.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in settings.seeds_dir.iterdir()} == {0o600}
    assert {path.name for path in settings.seeds_dir.iterdir()} == {f"{user}.nk" for user in USERS}


def test_a_key_that_cannot_be_used_is_named_and_kept(settings: Settings) -> None:
    ensure_seeds(settings.seeds_dir)
    (settings.seeds_dir / "health.nk").write_text("half a se")
    with pytest.raises(CommandError, match=r"health\.nk holds no seed"):
        ensure_seeds(settings.seeds_dir)
    assert (settings.seeds_dir / "health.nk").read_text() == "half a se"


def test_a_draft_that_a_crash_left_is_replaced(settings: Settings) -> None:
    settings.seeds_dir.mkdir(parents=True)
    (settings.seeds_dir / "api.new").write_text("SU")
    assert set(ensure_seeds(settings.seeds_dir)) == set(USERS)
    assert not (settings.seeds_dir / "api.new").exists()


def test_the_operators_key_is_used_when_there_is_one(settings: Settings) -> None:
    assert settings.bus.seed_file is None
    ensure_seeds(settings.seeds_dir)
    assert settings.bus.seed_file == settings.seeds_dir / "operator.nk"
    assert settings.model_copy(update={"nats_seed_file": Path("/other.nk")}).bus.seed_file == Path("/other.nk")
    assert settings.model_copy(update={"nats_url": "nats://me:secret@bus:4222"}).bus.seed_file is None


def test_streams_of_a_server_without_accounts_are_taken_over_once(tmp_path: Path) -> None:
    old, new = tmp_path / "jetstream" / "$G", tmp_path / "jetstream" / "CLAWSTEAD"
    assert not adopt_store(tmp_path)
    (old / "streams").mkdir(parents=True)
    assert adopt_store(tmp_path)
    assert (new / "streams").is_dir()
    (old / "later").mkdir(parents=True)
    assert not adopt_store(tmp_path)
    assert (old / "later").is_dir()
    assert not (new / "later").exists()
