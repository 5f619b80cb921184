"""Why no certificate could be got: certbot's own words, of certbot 5 and of Debian's 2.1, become stable codes."""

from datetime import UTC, datetime, timedelta

import pytest

from clawstead_proxy_sync.certificates.failures import HINTS, CertificateError, Reason, classify

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ZONES = "using zone names: ['claw.example', 'example']"

WORDS = [
    (
        "Error determining zone_id: 9109 Error code: 403 - {'errors': [{'code': 9109}]}. Please confirm that you have "
        "supplied valid Cloudflare API credentials. (Did you enter a valid Cloudflare Token?)",
        Reason.BAD_TOKEN,
    ),
    (
        "Error determining zone_id: 6003 Invalid request headers. Please confirm that you have supplied valid "
        "Cloudflare API credentials. (Did you copy your entire API token/key? To use Cloudflare tokens, you'll need "
        "the python package cloudflare>=2.3.1. This certbot is running cloudflare 2.11.1)",
        Reason.BAD_TOKEN,
    ),
    (
        f"Unable to determine zone_id for claw.example {ZONES}. The error from Cloudflare was: 10000 Authentication "
        "error.",
        Reason.BAD_TOKEN,
    ),
    (
        "Error communicating with the Cloudflare API: Authentication error (Does your API token have "
        '"Zone:DNS:Edit" permissions?)',
        Reason.BAD_TOKEN,
    ),
    ("Encountered error when making query: The peer didn't know the key we used", Reason.BAD_TOKEN),
    ("Received response from server: REFUSED", Reason.BAD_TOKEN),
    ('Missing property in credentials configuration file /x/dns.ini:\n * Property "a" not found', Reason.BAD_TOKEN),
    (
        f"Unable to determine zone_id for claw.example {ZONES}. Please confirm that the domain name has been entered "
        "correctly and is already associated with the supplied Cloudflare account.",
        Reason.WRONG_ZONE,
    ),
    (
        "Unable to determine base domain for _acme-challenge.claw.example using names: ['claw.example'].",
        Reason.WRONG_ZONE,
    ),
    ("Received response from server: NOTZONE", Reason.WRONG_ZONE),
    (
        "Network error contacting the Cloudflare API while looking up the zone for claw.example: Connection error.",
        Reason.DNS_API_DOWN,
    ),
    (
        f"Unable to determine zone_id for claw.example {ZONES}. The error from Cloudflare was: 0 connection failed..",
        Reason.DNS_API_DOWN,
    ),
    (
        f"Unable to determine zone_id for claw.example {ZONES}. The error from Cloudflare was: None Error code: 502.",
        Reason.DNS_API_DOWN,
    ),
    (
        "Error communicating with the Cloudflare API: Please wait and consider throttling your request",
        Reason.DNS_API_DOWN,
    ),
    ("Encountered error when making query: [Errno 111] Connection refused", Reason.DNS_API_DOWN),
    (
        "Certbot failed to authenticate some domains (authenticator: dns-cloudflare). The Certificate Authority "
        "reported these problems:\n  Domain: claw.example\n  Type:   unauthorized\n  Detail: No TXT records found for "
        "DNS challenge\n\nHint: The Authority failed to verify the DNS TXT records created by --dns-cloudflare"
        ". Ensure the above domains are hosted by this DNS provider\n\nSome challenges have failed.",
        Reason.RECORD_NOT_VISIBLE,
    ),
    (
        "  Type:   dns\n  Detail: DNS problem: NXDOMAIN looking up TXT for _acme-challenge.claw.example",
        Reason.RECORD_NOT_VISIBLE,
    ),
    (
        "An unexpected error occurred:\nrequests.exceptions.ConnectionError: HTTPSConnectionPool(host='127.0.0.1', "
        "port=15000): Max retries exceeded with url: /dir (Caused by NewConnectionError: Connection refused)",
        Reason.CA_DOWN,
    ),
    ("An unexpected error occurred:\nThe service is down for maintenance :: serverInternal", Reason.CA_DOWN),
    ("requests.exceptions.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate", Reason.CA_DOWN),
    (
        "An unexpected error occurred:\nError creating new order :: too many certificates (5) already issued for this "
        "exact set of identifiers in the last 168h0m0s, retry after 2026-11-22 10:00:00 UTC: see https://ca.example/",
        Reason.RATE_LIMITED,
    ),
    (
        "An unexpected error occurred:\nError creating new account :: too many new registrations (10) from this IP "
        "address in the last 3h0m0s, retry after 2026-11-21 14:00:00 UTC: see "
        "https://letsencrypt.org/docs/rate-limits/#new-registrations-per-ip-address",
        Reason.RATE_LIMITED,
    ),
    ("too many new registrations (10) from this IP address in the last 3h0m0s", Reason.RATE_LIMITED),
    ("too many new registrations (500) from this /48 subnet of IPv6 addresses", Reason.RATE_LIMITED),
    ("too many new orders (300) from this account in the last 3h0m0s", Reason.RATE_LIMITED),
    ('too many failed authorizations (5) for "claw.example" in the last 1h0m0s', Reason.RATE_LIMITED),
    ('too many certificates (50) already issued for "example" in the last 168h0m0s', Reason.RATE_LIMITED),
    ("There were too many requests of a given type", Reason.RATE_LIMITED),
    ("Your account is temporarily prevented from requesting certificates for claw.example", Reason.RATE_LIMITED),
    (
        "Error creating new order :: Cannot issue for x: The ACME server refuses: issuance is forbidden by policy",
        Reason.POLICY,
    ),
    ("  Type:   caa\n  Detail: CAA record for claw.example prevents issuance", Reason.POLICY),
    ('Error creating new order :: Order included unrecognized profile name "tiny"', Reason.POLICY),
    ("Another instance of Certbot is already running.", Reason.BUSY),
    ("The requested dns-cloudflare plugin does not appear to be installed", Reason.CERTBOT_MISSING),
    ("certbot: error: unrecognized arguments: --required-profile tiny", Reason.CERTBOT_MISSING),
    ("File not found: /run/secrets/dns.ini", Reason.CREDENTIALS_UNSAFE),
    ("An unexpected error occurred:\nOSError: [Errno 28] No space left on device", Reason.STORAGE),
    ("something that nobody has ever said", Reason.UNKNOWN),
    ("", Reason.UNKNOWN),
]


@pytest.mark.parametrize(("words", "reason"), WORDS)
def test_what_certbot_says_becomes_a_reason(words: str, reason: Reason) -> None:
    output = f"Saving debug log to /x/logs/letsencrypt.log\n{words}\nAsk for help or search for solutions at https://x."
    assert classify(output, NOW).reason is reason


def test_the_message_is_the_line_that_tells() -> None:
    error = classify(
        "Saving debug log to /x\nRenewing an existing certificate for claw.example\nFailed to renew certificate "
        "claw.example with error: Unable to determine zone_id for claw.example.\n- - -\nAll renewals failed. The "
        "following certificates could not be renewed:\n  /x/live/claw.example/fullchain.pem (failure)\n",
        NOW,
    )
    assert str(error).endswith("Unable to determine zone_id for claw.example.")


def test_a_long_line_is_cut_where_it_tells() -> None:
    message = str(classify("x" * 5000 + " Unable to determine zone_id for y", NOW))
    assert (len(message), message.endswith("Unable to determine zone_id for y")) == (300, True)
    assert str(classify("Unable to determine zone_id " + "x" * 5000, NOW)).startswith("Unable to determine zone_id xxx")


def test_a_file_that_cannot_be_read_is_not_quoted() -> None:
    error = classify(
        "Error parsing credentials configuration '/x/dns.ini': Invalid line ('canary-token') at line 1", NOW
    )
    assert (error.reason, str(error)) == (Reason.BAD_TOKEN, "Error parsing credentials configuration '/x/dns.ini'")


@pytest.mark.parametrize(
    ("words", "retry_at"),
    [
        ("rateLimited, retry after 2026-11-22 10:00:00 UTC: see", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("rateLimited, retry after 2026-11-22T10:00:00Z: see", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("rateLimited, Retry-After: 3600", NOW + timedelta(hours=1)),
        ("rateLimited, retry after 2099-01-01 00:00:00 UTC", NOW + timedelta(days=8)),
        ("rateLimited, retry after 2026-99-99 00:00:00 UTC", None),
        (
            "too many new registrations (10) from this IP address in the last 3h0m0s, retry after 2026-11-21 14:00:00 "
            "UTC: see https://letsencrypt.org/docs/rate-limits/#new-registrations-per-ip-address",
            datetime(2026, 11, 21, 14, tzinfo=UTC),
        ),
        ("too many new orders recently", None),
        ("No TXT record found, retry after 2026-11-22 10:00:00 UTC", None),
    ],
)
def test_a_rate_limit_says_when_to_come_again(words: str, retry_at: datetime | None) -> None:
    assert classify(words, NOW).retry_at == retry_at


def test_only_a_lost_nonce_is_worth_asking_again_at_once() -> None:
    slip = classify("urn:ietf:params:acme:error:badNonce :: JWS has an invalid anti-replay nonce", NOW)
    assert (slip.reason, slip.at_once) == (Reason.CA_DOWN, True)
    assert not classify("requests.exceptions.ConnectionError", NOW).at_once


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_to_do(reason: Reason) -> None:
    told = CertificateError(reason, "it went wrong").told(NOW, None)
    assert (told.reason, told.message, told.hint) == (reason.value, "it went wrong", HINTS[reason])
    assert len(told.hint) > 20
