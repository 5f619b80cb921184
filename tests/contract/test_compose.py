"""What an operator can set is set in the container, too, or deliberately not."""

import re

from clawstead_proxy_sync.settings import Settings
from clawstead_shared.settings import ServiceSettings
from tests.contract.source_tree import ROOT, package_of

COMPOSE = (ROOT / "compose.yml").read_text()
OF_THE_IMAGE = {
    "CERTBOT_BINARY", "NGINX_BINARY",  # it has its own
    "API_HOST", "TERMINAL_HOST",  # published on the host's loopback address, which is the default
    "EDGE_MODE", "EDGE_STATUS_PORT", "EDGE_CONTROL_PORT",  # there is no other nginx in it
    "KEEP_EDGE",  # nginx ends with the container
    "DASHBOARD_DIR",  # a folder of the host is not in it
}  # fmt: skip


def documented() -> set[str]:
    """Return what the tables of proxy-sync's README call settings."""
    readme = (package_of("proxy-sync").parents[1] / "README.md").read_text()
    cells = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*)", readme, re.MULTILINE)
    return set(re.findall(r"[A-Z_]+", " ".join(cells)))


def passed() -> set[str]:
    """Return what the container ``edge`` is given, by its own lines and by the blocks that these name."""
    edge = block("  edge:")
    merged = next(re.finditer(r"<<: \[(.*?)\]", edge))[1]
    lines = edge + "".join(block(f"x-{name}: &{name}") for name in (*re.findall(r"[a-z-]+", merged), "settings"))
    return set(re.findall(r"^ +(?:CLAWSTEAD_)?([A-Z_]+):", lines, re.MULTILINE))


def block(head: str) -> str:
    indent = len(head) - len(head.lstrip())
    return re.split(rf"\n {{0,{indent}}}\S", COMPOSE.split(f"\n{head}\n")[1])[0]


def test_the_readme_of_proxy_sync_has_all_of_its_settings() -> None:
    own = set(Settings.model_fields) - set(ServiceSettings.model_fields)
    assert {name.upper() for name in own} == documented()


def test_the_edge_takes_in_a_container_what_its_readme_says() -> None:
    assert documented() - passed() == OF_THE_IMAGE
    assert not OF_THE_IMAGE & passed()
