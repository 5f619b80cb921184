"""Why no certificate could be got, read from what certbot wrote. Pure.

Certbot ends with 1 whatever happened, so its words are all there is: those of certbot 5 and of Debian's 2.1.
"""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from clawstead_shared.control import CertificateFailure

INSTALL = "scripts/setup.sh --certbot"

LONGEST_WAIT = timedelta(days=8)
_LINE_LENGTH = 300


class Reason(StrEnum):
    """Stable codes, for operators and their alarms."""

    BAD_TOKEN = "bad_token"  # noqa: S105 - a code
    WRONG_ZONE = "wrong_zone"
    DNS_API_DOWN = "dns_api_down"
    RECORD_NOT_VISIBLE = "record_not_visible"
    CA_DOWN = "ca_down"
    RATE_LIMITED = "rate_limited"
    POLICY = "policy"
    BUSY = "busy"
    CREDENTIALS_UNSAFE = "credentials_unsafe"
    HOOK_UNUSABLE = "hook_unusable"
    CERTBOT_MISSING = "certbot_missing"
    TIMED_OUT = "timed_out"
    UNUSABLE = "unusable"
    NOT_SERVED = "not_served"
    STORAGE = "storage"
    UNKNOWN = "unknown"


HINTS = {
    Reason.BAD_TOKEN: "give a CLOUDFLARE_API_TOKEN that may edit the zone (Zone:DNS:Edit), or put what the DNS server "
    "knows into CLAWSTEAD_DNS_CREDENTIALS_FILE",
    Reason.WRONG_ZONE: "the token or key does not reach the zone of CLAWSTEAD_DOMAIN: check both",
    Reason.DNS_API_DOWN: "the DNS provider or name server cannot be reached from here; it is tried again",
    Reason.RECORD_NOT_VISIBLE: "the authority did not see the TXT record: raise CLAWSTEAD_ACME_PROPAGATION, and check "
    "that the domain's name servers are those that are written to",
    Reason.CA_DOWN: "the authority cannot be reached from here, or fails; it is tried again. A private one needs "
    "CLAWSTEAD_ACME_CA_FILE",
    Reason.RATE_LIMITED: "the authority takes no more orders for now; nothing is asked before it allows it. For "
    "trials use CLAWSTEAD_ACME_DIRECTORY=staging",
    Reason.POLICY: "the authority refuses this name, account or profile: check CLAWSTEAD_DOMAIN, CLAWSTEAD_ACME_EMAIL, "
    "CLAWSTEAD_ACME_PROFILE and the domain's CAA records",
    Reason.BUSY: "another certbot works in this folder; it is tried again as soon as that has ended",
    Reason.CREDENTIALS_UNSAFE: "the credentials file must belong to the user that runs proxy-sync, with mode 0600",
    Reason.HOOK_UNUSABLE: "CLAWSTEAD_ACME_AUTH_HOOK and CLAWSTEAD_ACME_CLEANUP_HOOK must name programs that the user "
    "who runs proxy-sync may run (`chmod +x`), then `clawstead certs renew`",
    Reason.CERTBOT_MISSING: f"install certbot with its DNS plugins: {INSTALL}",
    Reason.TIMED_OUT: "certbot was ended; its log is in tls/certbot/…/logs below proxy-sync's folder",
    Reason.UNUSABLE: "what certbot got is not served; `clawstead certs issue --force` orders another",
    Reason.NOT_SERVED: "the certificate is stored, but the HTTPS port shows another: look at the logs of proxy-sync "
    "and nginx",
    Reason.STORAGE: "check space and permissions of the folder tls/ below proxy-sync's own",
    Reason.UNKNOWN: "certbot's log is in tls/certbot/…/logs below proxy-sync's folder",
}

LASTING = frozenset(
    {
        Reason.BAD_TOKEN,
        Reason.WRONG_ZONE,
        Reason.POLICY,
        Reason.CREDENTIALS_UNSAFE,
        Reason.HOOK_UNUSABLE,
        Reason.CERTBOT_MISSING,
    }
)
"""What somebody must put right first: asking again soon would only use up what the authority allows."""

# The first that is found decides, so the particular comes before the general.
_WORDS: tuple[tuple[Reason, str], ...] = (
    (Reason.BUSY, r"Another instance of Certbot is already running"),
    (
        Reason.RATE_LIMITED,
        r"rateLimited|too many (?:new |failed )?(?:certificates|registrations|orders|authorizations|requests of a)|"
        r"rate[- ]limit|temporarily prevented from requesting",
    ),
    (Reason.CERTBOT_MISSING, r"plugin does not appear to be installed|unrecognized arguments|ModuleNotFoundError"),
    (Reason.CREDENTIALS_UNSAFE, r"File not found: |Path is a directory: "),
    (
        Reason.POLICY,
        r"forbidden by policy|rejectedIdentifier|CAA record|Type:\s+caa|invalidProfile|profile name|support profiles|"
        r"invalidContact|unsupportedContact|userActionRequired|externalAccountRequired|badCSR",
    ),
    (
        Reason.BAD_TOKEN,
        r"Error determining zone_id: |Cloudflare was: (?:6\d{3}|9\d{3}|1000[01])\b|Authentication error|Zone:DNS:Edit|"
        r"(?:Missing propert|Error parsing)[^:]* credentials|Unknown algorithm|didn't (?:know the key|like the sig)|"
        r"response from server: REFUSED|bad key|bad signature",
    ),
    (
        Reason.DNS_API_DOWN,
        r"Cloudflare was: (?:None|0|5\d\d)\b|(?:contacting|with|to) the Cloudflare API|throttling|"
        r"error (?:when making query|adding TXT record)|response from server: SERVFAIL|not a valid IPv4",
    ),
    (Reason.WRONG_ZONE, r"Unable to determine (?:zone_id|base domain)|response from server: NOT(?:ZONE|AUTH)"),
    (Reason.RECORD_NOT_VISIBLE, r"TXT record|looking up TXT|Type:\s+(?:unauthorized|dns)|DNS problem"),
    (Reason.STORAGE, r"No space left on device|Read-only file system|Permission denied|Disk quota exceeded"),
    (
        Reason.CA_DOWN,
        r"requests\.exceptions|ConnectionError|Max retries exceeded|CERTIFICATE_VERIFY_FAILED|serverInternal|badNonce|"
        r"anti-replay nonce|Read timed out|Connection (?:refused|reset)|Name or service not known|\b50[0234] ",
    ),
)
_PATTERNS = tuple((reason, re.compile(words, re.IGNORECASE)) for reason, words in _WORDS)
_NONCE = re.compile(r"badNonce|anti-replay nonce", re.IGNORECASE)
_RETRY_AFTER = re.compile(r"retry[- ]after:?\s+(?:(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)|(\d{1,7})\b)", re.IGNORECASE)
_PARSED = re.compile(r"(Error parsing credentials configuration '[^']*').*")
"""What follows quotes the file: it may be the secret itself."""
_NOISE = re.compile(
    r"^(?:Saving debug log|Ask for help|See the logfile|Some challenges have failed|All (?:simulated )?renewals failed|"
    r"Traceback|  File |- - -|\* \* \*|Certbot failed to authenticate|Hint: |\d+ renew failure)"
)


class CertificateError(Exception):
    """No certificate could be got, or it cannot be served. What is served stays."""

    def __init__(
        self, reason: Reason, message: str, *, retry_at: datetime | None = None, at_once: bool = False
    ) -> None:
        """``at_once``: a slip that asking again right away mends."""
        super().__init__(message)
        self.reason = reason
        self.retry_at = retry_at
        self.at_once = at_once

    def told(self, at: datetime, retry_at: datetime | None) -> CertificateFailure:
        """Return it as operators read it."""
        hint = HINTS[self.reason]
        return CertificateFailure(reason=self.reason, message=str(self), hint=hint, at=at, retry_at=retry_at)


def classify(output: str, now: datetime) -> CertificateError:
    """Return what certbot's words mean."""
    reason = next((reason for reason, words in _PATTERNS if words.search(output)), Reason.UNKNOWN)
    message = _decisive_line(output, reason)
    slip = reason is Reason.CA_DOWN and _NONCE.search(output) is not None
    retry_at = _retry_at(output, now) if reason is Reason.RATE_LIMITED else None
    return CertificateError(reason, message, retry_at=retry_at, at_once=slip)


def _retry_at(output: str, now: datetime) -> datetime | None:
    found = _RETRY_AFTER.search(output)
    if found is None:
        return None
    day, time, seconds = found.groups()
    try:
        at = now + timedelta(seconds=int(seconds)) if seconds else datetime.fromisoformat(f"{day}T{time}")
    except ValueError:
        return None
    # A year from a broken clock, there or here, must not end renewals for good.
    return min(at.replace(tzinfo=UTC), now + LONGEST_WAIT)


def _decisive_line(output: str, reason: Reason) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip() and not _NOISE.match(line)]
    words = dict(_PATTERNS).get(reason)
    found = [(line, match.start()) for line in lines if words and (match := words.search(line))]
    if not found and not lines:
        return "certbot gave no reason"
    line, start = found[-1] if found else (lines[-1], 0)
    begin = max(0, min(start, len(line) - _LINE_LENGTH))
    return _PARSED.sub(r"\1", line)[begin : begin + _LINE_LENGTH]
