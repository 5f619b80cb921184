"""The one-click link."""

import pytest

from clawstead_terminal.dashboard import bootstrap_token, dashboard_url

LINK = '{"browserUrl":"http://127.0.0.1:18789/#bootstrapToken=abc-DEF_123&bootstrapProfile=owner&gatewayUrl=ws"}'


@pytest.mark.parametrize("output", [LINK, f"warning: old config\n{LINK}\n", LINK.replace(",", ",\n  ")])
def test_the_token_is_found_in_what_the_cli_prints(output: str) -> None:
    assert bootstrap_token(output) == "abc-DEF_123"


@pytest.mark.parametrize(
    "output",
    [
        "",
        "{}",
        "not json {",
        '{"browserUrl":null}',
        '{"browserUrl":["x"]}',
        '{"browserUrl":"http://x/"}',
        '{"browserUrl":"http://x/#bootstrapToken="}',
        '{"browserUrl":"http://x/#bootstrapToken=%22%3E%3Cscript%3E"}',
        "[1]",
    ],
)
def test_output_without_a_link_is_an_error_that_does_not_repeat_it(output: str) -> None:
    with pytest.raises(ValueError, match="dashboard link"):
        bootstrap_token(output)


def test_the_address_carries_the_token_in_its_fragment_only() -> None:
    assert dashboard_url("https://a.test:8443", "a+b/c=") == (
        "https://a.test:8443/#bootstrapToken=a%2Bb%2Fc%3D&bootstrapProfile=owner"
    )
