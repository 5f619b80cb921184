"""Settings of the certificate: what is complete, what is refused, and that secrets stay out of it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clawstead_proxy_sync.certificates.order import Source
from clawstead_proxy_sync.settings import Settings
from clawstead_shared.settings import complaint

PUBLIC = {"CLAWSTEAD_DOMAIN": "claw.example.org", "CLAWSTEAD_CERTIFICATES": "cloudflare"}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(**environment: str) -> Settings:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return make


def test_without_a_word_the_local_authority_vouches() -> None:
    assert (Settings().certificates, Settings().certificate_check_interval) == (Source.LOCAL, timedelta(hours=12))


def test_the_token_goes_to_a_file_of_ours_and_nowhere_else(settings: Any) -> None:
    given = settings(**PUBLIC, CLOUDFLARE_API_TOKEN="canary")
    order = given.order(Path("/tls/certbot"))
    assert (order.credentials, given.cloudflare_token) == (Path("/tls/certbot/cloudflare.ini"), "canary")
    assert "canary" not in repr(order) + repr(given)


def test_a_credentials_file_of_ones_own_comes_first(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    given = settings(**PUBLIC, CLOUDFLARE_API_TOKEN="canary", CLAWSTEAD_DNS_CREDENTIALS_FILE="own/dns.ini")
    assert (given.order(Path("/x")).credentials, given.cloudflare_token) == (Path("/own/dns.ini"), None)


def test_what_is_empty_is_not_given(settings: Any) -> None:
    names = ("ACME_EMAIL", "ACME_CA_FILE", "ACME_PROFILE", "ACME_PROPAGATION", "DNS_CREDENTIALS_FILE", "CERTBOT_BINARY")
    given = settings(**{f"CLAWSTEAD_{name}": "" for name in names}, CLOUDFLARE_API_TOKEN="")
    assert {given.acme_email, given.acme_ca_file, given.acme_propagation, given.cloudflare_api_token} == {None}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "needs CLOUDFLARE_API_TOKEN or CLAWSTEAD_DNS_CREDENTIALS_FILE"),
        ({"CLAWSTEAD_CERTIFICATES": "rfc2136"}, "needs CLAWSTEAD_DNS_CREDENTIALS_FILE"),
        ({"CLAWSTEAD_CERTIFICATES": "manual"}, "needs CLAWSTEAD_ACME_AUTH_HOOK"),
        ({"CLAWSTEAD_CERTIFICATES": "letsencrypt"}, "'local', 'cloudflare', 'rfc2136' or 'manual'"),
        ({"CLAWSTEAD_DOMAIN": "claw.localhost"}, "no public authority vouches for claw.localhost"),
        ({"CLAWSTEAD_DOMAIN": "claw"}, "no public authority vouches for claw"),
        ({"CLAWSTEAD_DOMAIN": "192.0.2.1"}, "no public authority vouches for 192.0.2.1"),
        ({"CLAWSTEAD_ACME_DIRECTORY": "http://ca.lan/dir"}, "acme_directory"),
        ({"CLAWSTEAD_ACME_DIRECTORY": "test"}, "acme_directory"),
        ({"CLAWSTEAD_ACME_EMAIL": "--nobody"}, "acme_email"),
        ({"CLAWSTEAD_ACME_PROFILE": "--force"}, "acme_profile"),
        ({"CLAWSTEAD_ACME_PROPAGATION": "3600"}, "acme_propagation"),
        ({"CLAWSTEAD_CERTIFICATE_CHECK_INTERVAL": "0"}, "certificate_check_interval"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start_without_the_token(
    settings: Any, environment: dict[str, str], said: str
) -> None:
    token = {"CLOUDFLARE_API_TOKEN": "canary"} if environment else {}
    with pytest.raises(ValidationError) as refused:
        settings(**{**PUBLIC, **token, **environment})
    assert said in str(refused.value)
    assert "canary" not in str(refused.value)


def test_an_authority_of_ones_own_vouches_for_any_name(settings: Any) -> None:
    own = {"CLAWSTEAD_DOMAIN": "claw.lan", "CLAWSTEAD_ACME_DIRECTORY": "https://ca.lan/dir"}
    given = settings(**{**PUBLIC, **own}, CLOUDFLARE_API_TOKEN="t", CLAWSTEAD_ACME_PROPAGATION="90")
    assert (given.order(Path("/")).authority, given.order(Path("/")).propagation_seconds) == ("https://ca.lan/dir", 90)


def test_a_refusal_names_the_settings_as_the_environment_does(settings: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**PUBLIC, CLOUDFLARE_API_TOKEN="t", CLAWSTEAD_ACME_PROFILE="-", CLAWSTEAD_HTTP_PORT="canary")
    lines = complaint(refused.value).split("; ")
    assert [line.partition(":")[0] for line in lines] == ["CLAWSTEAD_ACME_PROFILE", "CLAWSTEAD_HTTP_PORT"]
    assert "canary" not in complaint(refused.value)
    with pytest.raises(ValidationError) as refused:
        settings(CLAWSTEAD_ACME_PROFILE="", CLAWSTEAD_HTTP_PORT="80", CLAWSTEAD_CERTIFICATES="manual")
    assert complaint(refused.value) == "CLAWSTEAD_CERTIFICATES=manual needs CLAWSTEAD_ACME_AUTH_HOOK"
