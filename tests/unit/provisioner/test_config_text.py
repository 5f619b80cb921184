"""The text of a config file: what its owner wrote, read and kept."""

import pytest

from clawstead_provisioner.config_text import config_text, parse_config
from clawstead_provisioner.errors import ProvisioningError
from clawstead_shared.events import Reason


def test_comments_and_trailing_commas_are_read() -> None:
    assert parse_config("// mine\n{a: 1, /* two */ 'b': [2,],}", "openclaw.json") == {"a": 1, "b": [2]}


def test_an_empty_file_says_nothing() -> None:
    assert parse_config(" \n", "openclaw.json") == {}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": 1 "b": 2}', "line 1, column 9"),
        ('{\n  "a": 1,\n  oops!\n}', "line 3, column 7"),
        ('{"a": [1', "line 1, column 7"),
        ("canary", "line 1, column 1"),
        ('{"a": 1} canary', "line 1, column 8"),
        ("[" * 200, "line 1"),
    ],
)
def test_garbage_is_refused_with_its_place_and_what_to_do_and_is_not_quoted(text: str, place: str) -> None:
    with pytest.raises(ProvisioningError, match=f"openclaw.json is not JSON5 near {place}.*: correct it") as refused:
        parse_config(text, "openclaw.json")
    assert refused.value.reason is Reason.CONFIG_INVALID
    assert "canary" not in refused.value.message


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ProvisioningError, match=r"clawstead.json is not an object"):
        parse_config("[1]", "clawstead.json")


def test_an_unchanged_config_keeps_its_text() -> None:
    text = "// mine\n{a: 1}"
    assert config_text(text, {"a": 1}, {"a": 1}) == text
    assert config_text(text, {"a": 1}, {"a": 2}) == '{\n  "a": 2\n}\n'
