"""The ``.env`` of an instance."""

import pytest

from clawstead_provisioner.env_file import env_file, variables
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.vault import InstanceSecrets
from clawstead_shared.events import Channel, Provider
from tests.support.factories import make_spec
from tests.support.profiles import PROFILES

INSTANCE = "01jc00000000000000000000aa"
PROFILE = PROFILES.of("openclaw:local", {})
SECRETS = InstanceSecrets("token", bot_token="123:abc", api_key="sk-1")


def test_keys_are_named_as_the_gateway_reads_them() -> None:
    spec = make_spec(INSTANCE, channel=Channel.TELEGRAM, provider=Provider.ANTHROPIC)
    assert variables(spec, SECRETS, PROFILE) == {"ANTHROPIC_API_KEY": "sk-1", "TELEGRAM_BOT_TOKEN": "123:abc"}
    spec = make_spec(INSTANCE, channel=Channel.DISCORD, provider=Provider.OPENROUTER)
    assert variables(spec, SECRETS, PROFILE) == {"OPENROUTER_API_KEY": "sk-1", "DISCORD_BOT_TOKEN": "123:abc"}


def test_secrets_without_a_use_are_not_written() -> None:
    assert variables(make_spec(INSTANCE), SECRETS, PROFILE) == {}


@pytest.mark.parametrize("value", ["a\nB=1", "a b", "$(id)", "a'b", 'a"b', "a\\", "é", "a#b", "a\x00"])
def test_a_value_that_would_end_its_line_or_be_expanded_is_refused(value: str) -> None:
    spec = make_spec(INSTANCE, provider=Provider.ANTHROPIC)
    with pytest.raises(ProvisioningError, match="ANTHROPIC_API_KEY") as refused:
        variables(spec, InstanceSecrets("token", api_key=value), PROFILE)
    assert value not in refused.value.message


def test_our_block_is_replaced_and_every_other_line_stays() -> None:
    first = env_file("", {"A": "1", "B": "2"})
    assert env_file(f"MINE=1\n{first}AFTER=2\n", {"A": "3"}).splitlines() == [
        "MINE=1",
        "AFTER=2",
        "# >>> clawstead: rewritten at every start",
        "A=3",
        "# <<< clawstead",
    ]


def test_writing_the_same_again_changes_nothing() -> None:
    text = env_file("MINE=1\n", {"A": "1"})
    assert env_file(text, {"A": "1"}) == text


def test_a_block_whose_end_was_deleted_costs_no_line_of_the_owners() -> None:
    text = env_file("", {"A": "1"}).replace("# <<< clawstead", "MINE=1")
    assert "MINE=1" in env_file(text, {"A": "2"})


def test_a_file_without_a_need_for_our_block_is_left_alone() -> None:
    assert env_file("", {}) == ""
    assert env_file("MINE=1", {}) == "MINE=1"
