"""``openclaw.json``: complete from nothing, merged with what is there, and what the pinned version accepts."""

from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.config_schema import check_config
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.image_profiles import ImageProfile
from clawstead_provisioner.openclaw_config import (
    Config,
    Settings,
    applied,
    as_json,
    default_settings,
    from_json,
    merged,
    owned_settings,
)
from clawstead_shared.events import Channel, Desired, Provider, Reason
from tests.support.factories import make_desired, make_limits, make_spec
from tests.support.golden import assert_golden
from tests.support.profiles import PROFILES

GOLDEN = Path(__file__).parent / "golden"
INSTANCE = "01jc00000000000000000000aa"
PROFILE = PROFILES.of("openclaw:local", {})
SCHEMA = PROFILE.config.schema_name
FREE = make_spec(INSTANCE, limits=make_limits(sessions=5))
ENTERPRISE = make_spec(INSTANCE, browser=True, channel=Channel.TELEGRAM, provider=Provider.OPENAI, model="openai/gpt-6")
DISCORD = make_spec(INSTANCE, channel=Channel.DISCORD, provider=Provider.GEMINI)


def desired(**spec: Any) -> Desired:
    return make_desired(INSTANCE, spec=make_spec(INSTANCE, **spec))


def config_of(
    wanted: Desired,
    existing: Config | None = None,
    previous: Desired | None = None,
    profile: ImageProfile = PROFILE,
) -> Config:
    before = applied(*settings_of(previous, profile)) if previous else {}
    return merged(existing or {}, *settings_of(wanted, profile), before)


def settings_of(wanted: Desired, profile: ImageProfile) -> tuple[Settings, Settings]:
    return owned_settings(wanted, "10.212.0.1", profile), default_settings(wanted, profile)


@pytest.mark.parametrize("profile", PROFILES.root, ids=lambda profile: profile.name)
@pytest.mark.parametrize(("name", "spec"), [("free", FREE), ("enterprise", ENTERPRISE), ("discord", DISCORD)])
def test_a_new_instance_gets_the_config_of_its_plan_and_image(name: str, spec: Any, profile: ImageProfile) -> None:
    config = config_of(make_desired(INSTANCE, spec=spec), profile=profile)
    assert_golden(GOLDEN / profile.config.schema_name / profile.name / f"{name}.json", config)
    check_config(config, schema=profile.config.schema_name, theirs={})


@pytest.mark.parametrize("profile", PROFILES.root, ids=lambda profile: profile.name)
def test_telemetry_is_configured_only_in_an_image_that_has_the_plugin(profile: ImageProfile) -> None:
    config = merged({}, {}, default_settings(desired(), profile, "http://collector:4318"), {})
    assert ("diagnostics" in config) == (profile.name == "official")
    assert ("plugins" in config) == (profile.name == "official")
    check_config(config, schema=SCHEMA, theirs={})
    if "diagnostics" in config:
        assert_golden(GOLDEN / SCHEMA / profile.name / "telemetry.json", config)


def test_telemetry_that_the_operator_gives_up_goes() -> None:
    profile = PROFILES.of("openclaw/openclaw", {})
    before = default_settings(desired(), profile, "http://collector:4318")
    config = merged(merged({}, {}, before, {}), {}, default_settings(desired(), profile), before)
    assert "diagnostics" not in config
    assert "plugins" not in config


def test_what_the_platform_needs_is_put_back_and_what_the_owner_chose_survives() -> None:
    existing: Config = {
        "gateway": {
            "port": 1,
            "bind": "loopback",
            "auth": {"mode": "none", "token": "mine", "rateLimit": {"maxAttempts": 3}},
            "controlUi": {"basePath": "/x", "allowedOrigins": ["*"], "communityInvite": False},
        },
        "agents": {"defaults": {"model": "anthropic/other"}},
        "channels": {"telegram": {"enabled": False, "allowFrom": ["1"]}},
    }
    config = config_of(desired(channel=Channel.TELEGRAM), existing)
    assert config["gateway"]["port"] == 18789
    assert config["gateway"]["auth"] == {"mode": "token", "rateLimit": {"maxAttempts": 3}}
    assert config["gateway"]["controlUi"]["communityInvite"] is False
    assert "basePath" not in config["gateway"]["controlUi"]
    assert config["gateway"]["controlUi"]["allowedOrigins"] == [f"https://{INSTANCE}.claw.localhost:8443"]
    assert config["agents"]["defaults"]["model"] == "anthropic/other"
    assert config["channels"]["telegram"]["enabled"] is False
    assert config["channels"]["telegram"]["allowFrom"] == ["1"]
    assert existing["gateway"]["port"] == 1, "the given config is not changed"


def test_merging_twice_changes_nothing() -> None:
    wanted = desired(channel=Channel.TELEGRAM, browser=True)
    once = config_of(wanted)
    assert config_of(wanted, once, wanted) == once


def test_a_default_that_the_owner_left_alone_follows_the_plan() -> None:
    before, after = desired(model="anthropic/a"), desired(model="anthropic/b")
    assert config_of(after, config_of(before), before)["agents"]["defaults"]["model"] == {"primary": "anthropic/b"}


def test_a_default_that_the_owner_changed_stays() -> None:
    before, after = desired(model="anthropic/a"), desired(model="anthropic/b")
    theirs = config_of(before)
    theirs["agents"]["defaults"]["model"]["primary"] = "anthropic/mine"
    assert config_of(after, theirs, before)["agents"]["defaults"]["model"] == {"primary": "anthropic/mine"}


def test_what_a_smaller_plan_forbade_is_gone_with_the_larger_one() -> None:
    before, after = make_desired(INSTANCE, spec=FREE), make_desired(INSTANCE, spec=ENTERPRISE)
    assert config_of(after, config_of(before), before) == config_of(after)
    assert config_of(before, config_of(after), after) == config_of(before)


def test_a_channel_that_was_given_up_goes_with_what_was_set_for_it() -> None:
    before, after = desired(channel=Channel.TELEGRAM), desired()
    theirs = config_of(before)
    assert "channels" not in config_of(after, theirs, before)
    theirs["channels"]["telegram"]["dmPolicy"] = "open"
    assert config_of(after, theirs, before)["channels"] == {"telegram": {"dmPolicy": "open"}}


def test_applied_settings_survive_being_stored() -> None:
    settings = default_settings(make_desired(INSTANCE, spec=ENTERPRISE), PROFILE)
    assert from_json(as_json(settings)) == settings
    assert from_json({"not": "ours"}) == {}
    assert from_json(None) == {}


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"foo": 1}, "<root>: Additional properties are not allowed \\('foo'"),
        ({"gateway": {"port": "no"}}, "gateway.port"),
        ({"session": {"maxSessions": 5}}, "session: Additional"),
        ({"agents": {"list": []}}, "agents: Additional"),
    ],
)
def test_what_the_gateway_would_refuse_is_refused_with_its_path(config: Config, where: str) -> None:
    with pytest.raises(ProvisioningError, match=where) as refused:
        check_config(config, schema=SCHEMA, theirs={})
    assert refused.value.reason is Reason.CONFIG_INVALID
    assert refused.value.final


def test_an_invalid_value_is_not_quoted() -> None:
    with pytest.raises(ProvisioningError) as refused:
        check_config({"channels": {"telegram": {"botToken": ["canary-secret"]}}}, schema=SCHEMA, theirs={})
    assert "canary-secret" not in refused.value.message


def test_keys_of_older_versions_are_left_to_the_gateway_to_migrate() -> None:
    theirs = {"meta": {"lastTouchedAt": "2026-01-01"}, "agents": {"list": []}}
    check_config(theirs, schema=SCHEMA, theirs=theirs)
