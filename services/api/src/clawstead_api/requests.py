"""What clients may ask for: the request bodies, and the rules that span several of their fields."""

import re
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, StringConstraints, field_validator

from clawstead_api.errors import FieldError, InvalidRequestError
from clawstead_api.plans import Plan, Plans
from clawstead_shared.events import Channel, Provider
from clawstead_shared.ids import DNS_LABEL_PATTERN, is_instance_id

T = TypeVar("T")

# fmt: off
RESERVED_SUBDOMAINS = frozenset({
    "abuse", "account", "accounts", "acme", "admin", "api", "app", "apps", "assets", "auth", "autoconfig",
    "autodiscover", "backup", "billing", "blog", "ca", "cdn", "certbot", "certs", "claw", "clawstead", "console",
    "dashboard", "default", "demo", "dev", "dns", "docs", "domain", "download", "edge", "email", "events", "ftp",
    "gateway", "git", "grafana", "health", "help", "host", "hostmaster", "hostnames", "imap", "include", "info",
    "internal", "isatap", "localhost", "login", "logs", "mail", "me", "metrics", "mta-sts", "mx", "nats", "news",
    "noreply", "ns", "ns1", "ns2", "ntp", "oauth", "open", "openclaw", "owner", "payments", "pop", "pop3", "portal",
    "postgres", "postmaster", "prod", "prometheus", "proxy", "registry", "relay", "root", "security", "server",
    "sftp", "shop", "signin", "signup", "smtp", "ssh", "ssl", "sso", "staging", "static", "status", "store",
    "support", "system", "terminal", "test", "tickets", "tls", "token", "unknown", "update", "user", "users",
    "volatile", "vpn", "web", "webmail", "webmaster", "wpad", "ws", "wss", "www",
})
# fmt: on
"""Names that an owner could use to pass for the platform, or that are words of the edge's own map."""

_IMAGE = re.compile(
    r"(?:[a-z0-9]+(?:[.-][a-z0-9]+)*(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_SECRET = re.compile(r"[!-~]{1,512}")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable characters only")
    return text


def _free_subdomain(label: str) -> str:
    if label in RESERVED_SUBDOMAINS:
        raise ValueError("this name is reserved")
    if is_instance_id(label):
        raise ValueError("must not look like an instance id")
    if label[2:4] == "--":
        raise ValueError("must not have hyphens in third and fourth place (that marks an encoded name)")
    return label


def _image(reference: str) -> str:
    if not _IMAGE.fullmatch(reference):
        raise ValueError("must be an image reference, [registry/]name[:tag][@digest]")
    return reference


def _secret(value: SecretStr) -> SecretStr:
    if not _SECRET.fullmatch(value.get_secret_value()):
        raise ValueError("must be 1 to 512 visible ASCII characters without spaces")
    return value


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(_printable)]
Subdomain = Annotated[str, StringConstraints(pattern=DNS_LABEL_PATTERN), AfterValidator(_free_subdomain)]
Image = Annotated[str, StringConstraints(max_length=255), AfterValidator(_image)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
PlanName = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class RequestBody(BaseModel):
    """Base of all request bodies: a field that we do not know is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class CreateInstance(RequestBody):
    """A new instance."""

    name: Name
    """How its owner calls it."""
    plan: PlanName
    subdomain: Subdomain | None = None
    """First label of its hostname; its id if absent."""
    channel: Channel | None = None
    bot_token: Secret | None = None
    """Bot token of ``channel``."""
    ai_provider: Provider | None = None
    api_key: Secret | None = None
    """API key of ``ai_provider``."""
    image: Image | None = None
    """Container image; the platform's default if absent."""


class ChangeInstance(RequestBody):
    """A change of an instance: fields that are absent stay as they are.

    A secret may be replaced alone; another channel or provider needs its own.
    """

    name: Name | None = None
    plan: PlanName | None = None
    channel: Channel | None = None
    """Null disconnects the channel."""
    bot_token: Secret | None = None
    ai_provider: Provider | None = None
    """Null takes the provider away."""
    api_key: Secret | None = None

    @field_validator("name", "plan", "bot_token", "api_key", mode="before")
    @classmethod
    def _stated(cls, value: object) -> object:
        if value is None:
            raise ValueError("must not be null; leave it out to keep what is")
        return value

    def value(self, field: str, current: T) -> T:
        """Return what ``field`` shall be: as stated, or ``current`` when it is absent."""
        stated: T = getattr(self, field)
        return stated if field in self.model_fields_set else current


class UpdateInstance(RequestBody):
    """An update: the image is looked up anew, and taken if it works."""

    image: Image | None = None
    """Container image from now on; null follows the platform's default. Absent keeps the image that the owner
    named, else takes the platform's default as it is today."""
    force: bool = False
    """Also take an image that the instance went back from before."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The parts of an instance that have to fit together."""

    plan: str
    channel: Channel | None
    provider: Provider | None


def check_new(request: CreateInstance, plans: Plans) -> Plan:
    """Check the rules that span several fields of a new instance, and return its plan.

    Raises:
        InvalidRequestError: names every field that breaks one.
    """
    setup = Setup(request.plan, request.channel, request.ai_provider)
    errors = [
        *_plan_errors(setup, plans),
        *_pair_errors("bot_token", "channel", request.bot_token, setup.channel, needed=True),
        *_pair_errors("api_key", "ai_provider", request.api_key, setup.provider, needed=True),
    ]
    return _checked(setup, plans, errors)


def check_change(request: ChangeInstance, before: Setup, after: Setup, plans: Plans) -> Plan:
    """Check the rules that span several fields of a change, and return the plan afterwards.

    Raises:
        InvalidRequestError: names every field that breaks one.
    """
    new_channel, new_provider = after.channel != before.channel, after.provider != before.provider
    errors = [
        *_plan_errors(after, plans),
        *_pair_errors("bot_token", "channel", request.bot_token, after.channel, needed=new_channel),
        *_pair_errors("api_key", "ai_provider", request.api_key, after.provider, needed=new_provider),
    ]
    return _checked(after, plans, errors)


def _checked(setup: Setup, plans: Plans, errors: list[FieldError]) -> Plan:
    plan = plans.get(setup.plan)
    if errors or plan is None:
        raise InvalidRequestError(*errors)
    return plan


def _plan_errors(setup: Setup, plans: Plans) -> list[FieldError]:
    plan = plans.get(setup.plan)
    if plan is None:
        return [FieldError("plan", f"must be one of {', '.join(plans.names)}")]
    if setup.channel and setup.channel not in plan.channels:
        return [FieldError("channel", f"the plan {setup.plan} does not include {setup.channel}")]
    return []


def _pair_errors(
    secret_field: str, kind_field: str, secret: SecretStr | None, kind: str | None, *, needed: bool
) -> list[FieldError]:
    if secret and not kind:
        return [FieldError(secret_field, f"is of no use without {kind_field}"), FieldError(kind_field, "is missing")]
    if kind and needed and not secret:
        return [FieldError(secret_field, f"is needed with {kind_field} {kind}")]
    return []
