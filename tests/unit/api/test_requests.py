"""The grammar of what clients may ask for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clawstead_api.errors import InvalidRequestError
from clawstead_api.plans import load_plans
from clawstead_api.requests import ChangeInstance, CreateInstance, Setup, check_change, check_new
from clawstead_proxy_sync.nginx_map import RESERVED_LABELS
from clawstead_shared.events import Channel, Provider
from clawstead_shared.ids import new_instance_id

PLANS = load_plans()
TELEGRAM, OPENAI = Channel.TELEGRAM, Provider.OPENAI


def request(**fields: Any) -> CreateInstance:
    return CreateInstance.model_validate({"name": "claw", "plan": "pro", **fields})


@pytest.mark.parametrize(
    "image",
    [
        "openclaw:local",
        "openclaw",
        "registry.example/openclaw/openclaw:2026.9.6",
        "localhost:5000/a/b_c-d.e:T-1",
        "x@sha256:" + "a" * 64,
        "x:tag@sha256:" + "0" * 64,
    ],
)
def test_image_references_are_accepted(image: str) -> None:
    assert request(image=image).image == image


@pytest.mark.parametrize("image", ["", " ", "A/b", "-x", "x:", "x:-t", "x@sha256:ab", "x\n", "x y", "a//b", "$(x)"])
def test_what_is_no_image_reference_is_refused(image: str) -> None:
    with pytest.raises(ValidationError):
        request(image=image)


@given(st.text(max_size=80))
def test_any_accepted_subdomain_is_a_plain_dns_label(text: str) -> None:
    try:
        label = request(subdomain=text).subdomain
    except ValidationError:
        return
    assert label
    assert len(label) <= 63
    assert label.isascii()
    assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert label[0] != "-" != label[-1]


@pytest.mark.parametrize(
    "label",
    [
        *sorted(RESERVED_LABELS),
        "www",
        "mail",
        "api",
        "admin",
        "autodiscover",
        "wpad",
        "clawstead",
        "openclaw",
        "terminal",
        "ws",
    ],
)
def test_names_of_the_platform_and_words_of_its_edge_are_reserved(label: str) -> None:
    with pytest.raises(ValidationError, match="reserved"):
        request(subdomain=label)


def test_a_subdomain_may_not_pass_for_another_instance() -> None:
    with pytest.raises(ValidationError, match="instance id"):
        request(subdomain=new_instance_id())


@pytest.mark.parametrize("name", ["a", "x" * 64, "Ünïcode", "日本語", "with space", "🐾"])
def test_any_printable_name_is_accepted(name: str) -> None:
    assert request(name=f"  {name} ").name == name


def fields_refused(error: InvalidRequestError) -> list[str]:
    return [each.field for each in error.errors]


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_new(request(plan="gold", channel="telegram", ai_provider="openai"), PLANS)
    assert fields_refused(caught.value) == ["plan", "bot_token", "api_key"]
    assert "free, pro, enterprise" in caught.value.detail


@pytest.mark.parametrize(
    ("body", "before", "refused"),
    [
        ({}, Setup("pro", TELEGRAM, OPENAI), []),
        ({"name": "x"}, Setup("pro", TELEGRAM, None), []),
        ({"plan": "free"}, Setup("pro", TELEGRAM, None), ["channel"]),
        ({"plan": "free", "channel": None}, Setup("pro", TELEGRAM, None), []),
        ({"channel": "discord"}, Setup("pro", TELEGRAM, None), ["bot_token"]),
        ({"channel": "discord", "bot_token": "b"}, Setup("pro", TELEGRAM, None), []),
        ({"channel": "telegram"}, Setup("pro", TELEGRAM, OPENAI), []),
        ({"bot_token": "b"}, Setup("pro", TELEGRAM, None), []),
        ({"bot_token": "b"}, Setup("pro", None, None), ["bot_token", "channel"]),
        ({"bot_token": "b"}, Setup("pro", TELEGRAM, OPENAI), []),
        ({"api_key": "k"}, Setup("pro", TELEGRAM, OPENAI), []),
        ({"channel": "discord", "api_key": "k"}, Setup("pro", TELEGRAM, OPENAI), ["bot_token"]),
        ({"api_key": "k", "bot_token": "b"}, Setup("pro", TELEGRAM, OPENAI), []),
        ({"ai_provider": "gemini"}, Setup("pro", None, OPENAI), ["api_key"]),
        ({"ai_provider": None}, Setup("pro", None, OPENAI), []),
        ({"plan": "gold"}, Setup("pro", None, None), ["plan"]),
    ],
)
def test_a_change_must_leave_a_setup_that_fits(body: dict[str, Any], before: Setup, refused: list[str]) -> None:
    change = ChangeInstance.model_validate(body)
    after = Setup(
        change.value("plan", before.plan) or "",
        change.value("channel", before.channel),
        change.value("ai_provider", before.provider),
    )
    if refused:
        with pytest.raises(InvalidRequestError) as caught:
            check_change(change, before, after, PLANS)
        assert fields_refused(caught.value) == refused
    else:
        assert check_change(change, before, after, PLANS) == PLANS.get(after.plan)


@pytest.mark.parametrize("field", ["name", "plan", "bot_token", "api_key"])
def test_null_is_not_a_way_to_leave_a_field_out(field: str) -> None:
    with pytest.raises(ValidationError, match="null"):
        ChangeInstance.model_validate({field: None})


def test_secrets_do_not_show_in_representations() -> None:
    shown = repr(request(channel="telegram", bot_token="canary", ai_provider="openai", api_key="canary"))
    assert "canary" not in shown
