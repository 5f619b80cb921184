"""The container as data: what openclaw.md asks for, and what needs another container."""

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.adapters.docker_objects import container_document
from clawstead_provisioner.image_profiles import ImageProfile, load_profiles
from clawstead_provisioner.spec import ContainerSpec, Site, container_spec
from clawstead_shared.events import Desired
from tests.support.factories import make_desired, make_limits, make_spec
from tests.support.golden import assert_golden
from tests.support.profiles import PROFILES

GOLDEN = Path(__file__).parent / "golden"
INSTANCE = "01jc00000000000000000000aa"
SITE = Site(
    installation="test",
    host="127.0.0.1",
    network_pool=IPv4Network("10.212.0.0/15"),
    first_port=10000,
    instances_source=Path("/srv/clawstead/instances"),
    stop_timeout_seconds=345,
)


def make(desired: Desired | None = None, **overrides: Any) -> ContainerSpec:
    arguments: dict[str, Any] = {
        "desired": desired or make_desired(INSTANCE),
        "site": SITE,
        "port": 10021,
        "profile": PROFILES.of("openclaw:local", {}),
        "secret_env": {"OPENCLAW_GATEWAY_TOKEN": "the-gateway-token"},
        "config": [],
        "secrets_digest": "digest",
    }
    return container_spec(**{**arguments, **overrides})


@pytest.mark.parametrize("profile", load_profiles().root, ids=lambda profile: profile.name)
def test_the_container_is_hardened_as_far_as_its_image_allows(profile: ImageProfile) -> None:
    limits = make_limits(cpus=2, memory_bytes=2 * 1024**3, pids=256)
    desired = make_desired(INSTANCE, spec=make_spec(INSTANCE, limits=limits, image="openclaw:local"))
    document = container_document(make(desired, profile=profile))
    assert_golden(GOLDEN / profile.config.schema_name / profile.name / "container.json", document)


def test_the_network_is_the_subnet_with_the_ports_number() -> None:
    assert SITE.network(INSTANCE, 10000).subnet == "10.212.0.0/29"
    assert SITE.network(INSTANCE, 10001).gateway == "10.212.0.9"
    assert SITE.network(INSTANCE, 20000).subnet == "10.213.56.128/29"


def test_a_pool_without_a_subnet_for_the_port_is_an_error() -> None:
    small = replace(SITE, network_pool=IPv4Network("10.0.0.0/28"))
    with pytest.raises(ValueError, match="no subnet"):
        small.network(INSTANCE, 10002)


def test_the_gateway_token_is_never_shown() -> None:
    assert "the-gateway-token" not in repr(make())


@pytest.mark.parametrize(
    "changed",
    [
        {"port": 10022},
        {"secrets_digest": "other"},
        {"config": ["other"]},
        {"profile": PROFILES.of("coollabsio/openclaw", {})},
    ],
)
def test_what_the_container_is_made_from_changes_the_fingerprint(changed: dict[str, Any]) -> None:
    assert make(**changed).fingerprint != make().fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        {"secret_env": {"OPENCLAW_GATEWAY_TOKEN": "other"}},
        {"desired": make_desired(INSTANCE, generation=7)},
        {"desired": make_desired(INSTANCE, spec=make_spec(INSTANCE, limits=make_limits(cpus=4, memory_bytes=2**31)))},
        {"desired": make_desired(INSTANCE, spec=make_spec(INSTANCE, name="renamed", plan="pro"))},
        {"desired": make_desired(INSTANCE, spec=make_spec(INSTANCE, image="other:1", image_revision=3))},
    ],
)
def test_what_the_container_does_not_depend_on_leaves_the_fingerprint(changed: dict[str, Any]) -> None:
    assert make(**changed).fingerprint == make().fingerprint
