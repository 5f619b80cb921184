"""The table of routes as nginx reads it: pure, deterministic, and read back before it is believed.

    # clawstead routes: generation 7, 2 lines, sha256 4f1c…
    "01j9…" 127.0.0.1:10001;
    "blue" 127.0.0.1:10002;
    "_generation" 7;

``nginx -t`` passes a map with an injected line, a ``~`` catch-all or half its lines missing, so it proves
nothing about content. Names and addresses are checked before they are rendered, the result is parsed again
and compared, and the last line is what nginx must be seen to serve: a file cut short does not have it.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

from clawstead_proxy_sync.errors import UnroutableError
from clawstead_shared.ids import DNS_LABEL_PATTERN

GENERATION_KEY = "_generation"
"""The key whose value is the table's generation; no label can equal it, for labels have no underscore."""

RESERVED_LABELS = frozenset({"default", "hostnames", "include", "volatile"})
"""Words that an nginx map takes for directives, even between quotes."""

_MAX_PORT = 65535
_LABEL = re.compile(DNS_LABEL_PATTERN.removeprefix("^").removesuffix("$"))
_LINE = re.compile(r'"(?P<key>[a-z0-9_-]+)" (?P<value>[a-z0-9.:\[\]]+);')
_HEADER = re.compile(r"# clawstead routes: generation (\d+), (\d+) lines, sha256 ([0-9a-f]{64})")


class Page(StrEnum):
    """Why nobody gets through to a known name: the page that answers at its closed gate."""

    STARTING = "starting"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Address of a gateway: an IP address and port, so nginx needs no resolver and no name can be smuggled in."""

    host: str
    port: int

    def __post_init__(self) -> None:
        """Check the address.

        Raises:
            UnroutableError: it is not an IP address and port to which requests may be sent.
        """
        try:
            address = ip_address(self.host)
        except ValueError as error:
            raise UnroutableError(f"not an IP address: {self.host!r}") from error
        if str(address) != self.host or getattr(address, "scope_id", None) or getattr(address, "ipv4_mapped", None):
            raise UnroutableError(f"not written in the one plain form of an address: {self.host}")
        if address.is_unspecified or address.is_multicast or address.is_link_local:
            raise UnroutableError(f"not an address of a gateway: {self.host}")
        if not 0 < self.port <= _MAX_PORT:
            raise UnroutableError(f"not a port: {self.port}")

    def __str__(self) -> str:
        host = f"[{self.host}]" if isinstance(ip_address(self.host), IPv6Address) else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Upstream":
        """Read ``host:port``.

        Raises:
            UnroutableError: it is not that.
        """
        host, _, port = text.rpartition(":")
        if not port.isdecimal():
            raise UnroutableError(f"not an address and port: {text!r}")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))


Routes = Mapping[str, Upstream]


@dataclass(frozen=True, slots=True)
class RouteMap:
    """A table of routes, and the generation that tells it from every other."""

    generation: int
    routes: Routes


def check_label(label: str) -> None:
    """Check that ``label`` may become a key of the map.

    Raises:
        UnroutableError: it is not a DNS label, or nginx would take it for a directive.
    """
    if not _LABEL.fullmatch(label):
        raise UnroutableError(f"not a DNS label: {label!r}")
    if label in RESERVED_LABELS:
        raise UnroutableError(f"reserved name: {label}")


def render(table: RouteMap) -> bytes:
    """Return the map file of ``table``: equal tables give equal bytes.

    Raises:
        UnroutableError: a label is not fit to be rendered.
    """
    for label in table.routes:
        check_label(label)
    lines = [f'"{label}" {table.routes[label]};\n' for label in sorted(table.routes)]
    body = "".join([*lines, f'"{GENERATION_KEY}" {table.generation};\n'])
    digest = hashlib.sha256(body.encode()).hexdigest()
    header = f"# clawstead routes: generation {table.generation}, {len(lines)} lines, sha256 {digest}\n"
    return (header + body).encode()


def parse(text: bytes) -> RouteMap:
    """Read a map file back.

    Raises:
        ValueError: it is not, byte for byte, what ``render`` writes: truncated, edited or foreign.
    """
    header, _, body = text.decode("ascii", errors="strict").partition("\n")
    described = _HEADER.fullmatch(header)
    if not described or hashlib.sha256(body.encode()).hexdigest() != described[3]:
        raise ValueError("the route map is damaged")
    routes: dict[str, Upstream] = {}
    for line in body.splitlines():
        entry = _LINE.fullmatch(line)
        if not entry:
            raise ValueError(f"not a line of a route map: {line!r}")
        if entry["key"] != GENERATION_KEY:
            routes[entry["key"]] = _upstream(entry["value"])
    table = RouteMap(int(described[1]), routes)
    try:
        intact = render(table) == text
    except UnroutableError as error:
        raise ValueError(str(error)) from error
    if not intact:
        raise ValueError("the route map is not what would have been written")
    return table


def _upstream(value: str) -> Upstream:
    try:
        return Upstream.parse(value)
    except UnroutableError as error:
        raise ValueError(str(error)) from error
