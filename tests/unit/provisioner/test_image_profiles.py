"""Which profile an image gets, and what an operator's file may say."""

from pathlib import Path

import pytest

from clawstead_provisioner.config_schema import load_schema
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.image_profiles import load_profiles
from clawstead_provisioner.settings import ProvisionerSettings
from clawstead_shared.events import Reason

PROFILES = load_profiles()


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("openclaw:local", "openclaw"),
        ("openclaw", "openclaw"),
        ("openclaw/openclaw:2026.9.6", "official"),
        ("registry.example:5000/openclaw/openclaw@sha256:" + "0" * 64, "official"),
        ("localhost/openclaw/openclaw", "official"),
        ("localhost:5000/coollabsio/openclaw:latest", "coollabs"),
        ("coollabsio/openclaw", "coollabs"),
        ("registry.example/deep/er/openclaw:1", "openclaw"),
        ("somebody/else:1", "openclaw"),
        ("not-coollabsio/openclaw", "openclaw"),
    ],
)
def test_an_images_repository_chooses_its_profile_wherever_it_comes_from(image: str, name: str) -> None:
    assert PROFILES.of(image, {}).name == name


def test_an_images_label_wins_over_its_name() -> None:
    assert PROFILES.of("mine:1", {"ing.clawstead.profile": "coollabs"}).name == "coollabs"


def test_a_label_that_names_no_profile_says_which_there_are() -> None:
    with pytest.raises(ProvisioningError, match="profile nonsense: there are coollabs, official, openclaw") as refused:
        PROFILES.of("mine:1", {"ing.clawstead.profile": "nonsense"})
    assert refused.value.reason is Reason.IMAGE_UNUSABLE


def test_plugins_of_the_label_are_added_to_those_of_the_profile() -> None:
    official = PROFILES.of("openclaw/openclaw", {"ing.clawstead.plugins": "discord, codex,"})
    assert official.plugins == ("codex", "diagnostics-otel", "discord")


def test_every_packaged_profile_has_its_schema() -> None:
    for profile in PROFILES.root:
        load_schema(profile.config.schema_name)


def test_an_operators_profile_comes_first_and_takes_over_what_it_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(
        '[[profiles]]\nname = "ours"\nbase = "openclaw"\nrepositories = ["ours/*"]\nminimum_memory_mib = 2048\n'
    )
    profile = load_profiles(ProvisionerSettings(image_profiles_file=path).image_profiles_file).of("ours/claw:1", {})
    assert (profile.name, profile.minimum_memory_bytes, profile.port) == ("ours", 2 * 1024**3, 18789)


def test_an_operators_profile_replaces_the_packaged_one_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text('[[profiles]]\nname = "official"\nbase = "openclaw"\nrepositories = ["theirs"]\n')
    profiles = load_profiles(path)
    assert [profile.name for profile in profiles.root] == ["official", "coollabs", "openclaw"]
    assert profiles.of("openclaw/openclaw", {}).name == "openclaw"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[profiles]]\nport = 1\n", "each with a name"),
        ('[[profiles]]\nname = "a"\nbase = "nothing"\n', "base must name a profile"),
        ('[[profiles]]\nname = "a"\nbase = "openclaw"\nports = 1\n', "ports"),
        ('[[profiles]]\nname = "a"\n', "repositories"),
        ("[[profiles", "TOML|array|Expected"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_name_and_what_is_wrong(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint) as refused:
        load_profiles(path)
    assert str(path) in str(refused.value)


def test_a_schema_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="no schema of a config is called openclaw-1"):
        load_schema("openclaw-1")
