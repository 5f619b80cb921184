"""The configuration of the edge that the settings and the machine ask for."""

import grp
import os
import pwd
import resource
import socket
from ipaddress import IPv6Address
from pathlib import Path

from clawstead_proxy_sync import dashboard, lookup, pages
from clawstead_proxy_sync.nginx_conf import CONTROL_KEY, SPARE_FILES, NginxConfig
from clawstead_proxy_sync.ports import Certificate
from clawstead_proxy_sync.settings import Settings

LOOPBACK = "127.0.0.1"

_FEWEST_CONNECTIONS = 512
_CONNECTIONS = 16384
_CONNECTIONS_OF_MANY_WORKERS = 4096
"""Each takes memory in every worker, and reloads leave workers behind."""
_WORKER_USERS = ("www-data", "nginx", "nobody")


def nginx_config(settings: Settings, certificate: Certificate | None, modules: tuple[str, ...] = ()) -> NginxConfig:
    """Return the configuration that the settings and the machine ask for, without a certificate if none is given."""
    return NginxConfig(
        domain=settings.domain,
        https_port=settings.https_port,
        http_port=settings.http_port,
        public_port_suffix=settings.public_port_suffix,
        addresses=listen_addresses(settings),
        api=_address(settings.api_host, settings.api_port),
        terminal=_address(settings.terminal_host, settings.terminal_ws_port),
        route_question=f"{_address(settings.bind_host, settings.proxy_sync_port)}{lookup.PATH}",
        content_security_policy=pages.content_security_policy(),
        certificate=_as_seen_by_nginx(certificate.chain, settings.directory) if certificate else "",
        certificate_key=_as_seen_by_nginx(certificate.key, settings.directory) if certificate else "",
        certificate_digest=certificate.digest if certificate else "",
        workers=settings.edge_workers,
        drain_seconds=round(settings.edge_drain.total_seconds()),
        limits=settings.limits,
        trusted_proxies=tuple(map(str, settings.edge_trusted_proxies)),
        client_header=settings.edge_client_header,
        dashboard_policy=dashboard.content_security_policy(settings.base_url) if settings.dashboard_dir else None,
        live=bool(modules) or (settings.system and settings.edge_routing == "live"),
        modules=modules,
        connections=_connections(_CONNECTIONS if modules else _CONNECTIONS_OF_MANY_WORKERS),
        user=worker_user(),
        **(_inside_the_machines(settings) if settings.system else {}),
    )


def _inside_the_machines(settings: Settings) -> dict[str, str]:
    # Logs and status server are nothing of our folder: nginx's master is root, opens logs by name, and makes
    # sockets that all may write. Whoever owns the folder could have it do that to any file of the machine.
    return {
        "root": f"{settings.directory}/",
        "logs": "/var/log/nginx/clawstead-",
        "status": f"{LOOPBACK}:{settings.edge_status_port}",
        "control": f"{LOOPBACK}:{settings.edge_control_port}",
        "control_key": f"{settings.directory}/{CONTROL_KEY}",
    }


def listen_addresses(settings: Settings) -> tuple[str, ...]:
    """Return the addresses to listen on, as nginx writes them."""
    if settings.edge_addresses:
        return tuple(f"[{it}]" if isinstance(it, IPv6Address) else str(it) for it in settings.edge_addresses)
    return ("0.0.0.0", "[::]") if _has_ipv6() else ("0.0.0.0",)


def worker_user() -> str | None:
    """Return ``user group`` for nginx's workers when the master is root, else None: they are who we are."""
    if os.geteuid() != 0:
        return None
    for name in _WORKER_USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return f"{name} {grp.getgrgid(user.pw_gid).gr_name}"
    raise RuntimeError(f"none of the users {', '.join(_WORKER_USERS)} exists to run nginx's workers")


def _connections(wanted: int) -> int:
    """Return how many connections a worker may have: only root can raise the limit of its files."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid() == 0 or most == resource.RLIM_INFINITY:
        return wanted
    return max(min(wanted, most - SPARE_FILES), _FEWEST_CONNECTIONS)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _as_seen_by_nginx(path: Path, directory: Path) -> str:
    # Relative, so that no special character of an outer folder gets into the configuration.
    return str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)
