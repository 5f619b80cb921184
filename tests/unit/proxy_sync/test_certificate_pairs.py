"""Which key and chain may be served: whole, belonging together, for the domain, and for now."""

from datetime import UTC, datetime, timedelta

import pytest

from clawstead_proxy_sync.adapters import signing
from clawstead_proxy_sync.certificates.pair import UnusablePairError, judge, read

DOMAIN = "claw.example"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> signing.Pair:
    return signing.make_authority(DOMAIN)


@pytest.fixture(scope="module")
def leaf(authority: signing.Pair) -> signing.Pair:
    return signing.make_leaf(DOMAIN, authority)


def content_of(leaf: signing.Pair, *chain: signing.Pair) -> bytes:
    return leaf.key_pem + leaf.certificate_pem + b"".join(each.certificate_pem for each in chain)


def test_a_good_pair_says_what_it_is(authority: signing.Pair, leaf: signing.Pair) -> None:
    facts = judge(content_of(leaf, authority), DOMAIN, now=NOW)
    assert facts.names == (DOMAIN, f"*.{DOMAIN}")
    assert facts.serial == f"{leaf.certificate.serial_number:x}"
    assert facts.not_after == leaf.expires_at
    assert "local authority" in facts.issuer


@pytest.mark.parametrize(
    ("domain", "now", "why"),
    [
        ("other.example", NOW, "not for"),
        (f"a.{DOMAIN}", NOW, "not for"),
        (DOMAIN, NOW + timedelta(days=400), "has expired"),
        (DOMAIN, NOW - timedelta(days=1), "not valid before"),
    ],
)
def test_what_is_not_for_this_domain_or_not_for_now_is_refused(
    leaf: signing.Pair, domain: str, now: datetime, why: str
) -> None:
    with pytest.raises(UnusablePairError, match=why):
        judge(content_of(leaf), domain, now=now)


def test_what_is_served_already_may_have_expired(leaf: signing.Pair) -> None:
    assert judge(content_of(leaf), DOMAIN, now=None) == read(content_of(leaf))


def test_a_key_of_another_certificate_is_refused(authority: signing.Pair, leaf: signing.Pair) -> None:
    other = signing.make_leaf(DOMAIN, authority)
    with pytest.raises(UnusablePairError, match="does not belong"):
        read(other.key_pem + leaf.certificate_pem)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_half_a_file_is_refused(leaf: signing.Pair, share: float) -> None:
    content = content_of(leaf)
    with pytest.raises(UnusablePairError, match="cannot be read"):
        read(content[: int(len(content) * share)])
