"""From the desired state to ``openclaw.json``: pure (openclaw.md, sections 4, 5 and 7).

The gateway, its CLI and its owner write to the same file, so it is merged, never regenerated:

    owned     the platform cannot work otherwise: set at every start
    defaults  set when absent or still what we set last; what the owner changed survives
"""

from collections.abc import Mapping
from typing import Any

from clawstead_provisioner.image_profiles import ImageProfile
from clawstead_shared.events import Channel, Desired, Provider
from clawstead_shared.ids import created_at

Path = tuple[str, ...]
Settings = dict[Path, Any]
Config = dict[str, Any]

OTEL_PLUGIN = "diagnostics-otel"
"""Configured in an image that lacks it, it costs more than a minute of each start (openclaw.md, section 9)."""

ABSENT = None
"""As an owned value: the setting must not be there."""


def owned_settings(desired: Desired, proxy_address: str, profile: ImageProfile) -> Settings:
    """Return what the platform insists on. ``proxy_address`` is where the edge's requests come from."""
    spec = desired.spec
    settings: Settings = {
        ("agents", "defaults", "workspace"): profile.mounts.workspace,
        ("gateway", "mode"): "local",
        ("gateway", "port"): profile.config.port,
        ("gateway", "bind"): profile.config.bind,
        ("gateway", "customBindHost"): ABSENT,
        ("gateway", "tls"): ABSENT,
        # The token is in the environment; one in the file would win over it.
        ("gateway", "auth", "mode"): "token",
        ("gateway", "auth", "token"): ABSENT,
        ("gateway", "auth", "password"): ABSENT,
        ("gateway", "auth", "trustedProxy"): ABSENT,
        ("gateway", "tailscale", "mode"): "off",
        ("gateway", "trustedProxies"): [proxy_address, *profile.config.proxies],
        ("gateway", "publicOrigin"): spec.origin,
        ("gateway", "controlUi", "allowedOrigins"): [spec.origin],
        ("gateway", "controlUi", "basePath"): ABSENT,
        ("gateway", "controlUi", "dangerouslyAllowHostHeaderOriginFallback"): ABSENT,
        ("update", "checkOnStart"): False,
    }
    if not spec.browser:
        settings["browser", "enabled"] = False
    if spec.limits.sessions is not None:
        # OpenClaw has no hard cap; this archives the oldest sessions beyond the number.
        settings["session", "maintenance", "mode"] = "enforce"
        settings["session", "maintenance", "maxEntries"] = spec.limits.sessions
    return settings


def default_settings(desired: Desired, profile: ImageProfile, otlp_endpoint: str | None = None) -> Settings:
    """Return what an instance begins with, and its owner may change."""
    spec = desired.spec
    settings: Settings = {
        # Without it the default is a model of a provider that the owner may not have.
        ("agents", "defaults", "model", "primary"): spec.model,
        ("commands", "restart"): True,
        # As after the gateway's own onboarding, which the platform takes the place of.
        ("wizard", "lastRunAt"): created_at(desired.instance_id).isoformat(),
        ("wizard", "lastRunCommand"): "clawstead",
        ("wizard", "lastRunMode"): "local",
    }
    if version := profile.config.version:
        settings["wizard", "lastRunVersion"] = version
    if otlp_endpoint is not None and OTEL_PLUGIN in profile.plugins:
        settings |= _telemetry_settings(otlp_endpoint)
    if spec.browser:
        settings |= {("browser", "enabled"): True, ("browser", "headless"): True}
    if spec.channel is not None:
        settings |= _channel_settings(spec.channel, profile.bot_token_variables[spec.channel])
    if spec.provider is Provider.OPENAI:
        # Otherwise OpenAI models need the Codex plugin, which the package lacks.
        settings["models", "providers", "openai", "agentRuntime", "id"] = "openclaw"
    return settings


def _telemetry_settings(endpoint: str) -> Settings:
    otel = {
        "enabled": True,
        "endpoint": endpoint,
        "protocol": "http/protobuf",
        "serviceName": "openclaw-gateway",
        "traces": True,
        "metrics": True,
        "logs": True,
        "sampleRate": 0.2,
        "flushIntervalMs": 20000,
        "captureContent": False,
    }
    return {
        ("plugins", "entries", OTEL_PLUGIN, "enabled"): True,
        ("diagnostics", "enabled"): True,
        **{("diagnostics", "otel", key): value for key, value in otel.items()},
    }


def _channel_settings(channel: Channel, variable: str) -> Settings:
    root = ("channels", channel.value)
    token = "botToken" if channel is Channel.TELEGRAM else "token"
    return {
        (*root, "enabled"): True,
        (*root, "dmPolicy"): "pairing",
        (*root, "groupPolicy"): "allowlist",
        (*root, token): {"source": "env", "provider": "default", "id": variable},
    }


def merged(existing: Config, owned: Settings, defaults: Settings, previous: Settings) -> Config:
    """Return ``existing`` with ``owned`` enforced and ``defaults`` brought up to date.

    ``previous`` is what was set last, of either kind: what is still unchanged follows its new value, or goes if
    there is none.
    """
    config: Config = _copied(existing)
    for path, value in previous.items():
        if path not in defaults and path not in owned and _get(config, path) == value:
            _remove(config, path)
    for path, value in defaults.items():
        current = _get(config, path)
        if current is None or (path in previous and current == previous[path]):
            _set(config, path, value)
    for path, value in owned.items():
        if value is ABSENT:
            _remove(config, path)
        else:
            _set(config, path, value)
    return config


def applied(owned: Settings, defaults: Settings) -> Settings:
    """Return what a merge has set, to be known as ``previous`` at the next one."""
    return {**defaults, **{path: value for path, value in owned.items() if value is not ABSENT}}


def as_json(settings: Settings) -> list[list[Any]]:
    """Return settings in a form that JSON can hold."""
    return [[list(path), value] for path, value in sorted(settings.items())]


def from_json(document: Any) -> Settings:
    """Read settings back; what is not in their form counts as none."""
    try:
        return {tuple(map(str, path)): value for path, value in document}
    except (TypeError, ValueError):
        return {}


def _copied(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _copied(child) for key, child in node.items()}
    return node


def _get(config: Config, path: Path) -> Any:
    node: Any = config
    for key in path:
        if not isinstance(node, dict):
            return node  # a short form, as in "model": "provider/model", is a choice too
        node = node.get(key)
    return node


def _set(config: Config, path: Path, value: Any) -> None:
    node = config
    for key in path[:-1]:
        child = node.get(key)
        if not isinstance(child, dict):
            child = node[key] = {}
        node = child
    node[path[-1]] = value


def _remove(config: Config, path: Path) -> None:
    parent = _get(config, path[:-1])
    if not isinstance(parent, dict) or path[-1] not in parent:
        return
    del parent[path[-1]]
    if not parent and len(path) > 1:
        _remove(config, path[:-1])
