"""The committed locks fit the projects they lock. A newer release upstream is no reason to fail."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contract.source_tree import ROOT, SERVICES

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)")
OURS = re.compile(r"^clawstead-")
SERVICE_LOCKS = [Path("services") / service / "requirements.lock" for service in SERVICES]
ALL_LOCKS = [*SERVICE_LOCKS, Path("requirements.lock"), Path("requirements-dev.lock")]
CERTBOT_LOCK = Path("scripts/certbot.lock")
BUILD_LOCKS = [Path("shared/build-requirements.lock"), Path("scripts/tools.lock"), CERTBOT_LOCK]


@dataclass
class Pin:
    version: str
    hashes: int = 0


@cache
def pins(lock: Path) -> dict[str, Pin]:
    found: dict[str, Pin] = {}
    current = None
    for line in (ROOT / lock).read_text().splitlines():
        if matched := _PIN.match(line):
            current = found.setdefault(canonicalize_name(matched["name"]), Pin(matched["version"]))
        if "--hash=sha256:" in line:
            assert current, f"{lock}: a hash before any package"
            current.hashes += line.count("--hash=sha256:")
    return found


def project(path: Path) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text())


def direct(path: Path, *, groups: bool = False) -> list[Requirement]:
    """Return what a project asks for by itself, our own distributions left out."""
    content = project(path)
    wanted = [*content["project"]["dependencies"]]
    if groups:
        wanted += [item for group in content.get("dependency-groups", {}).values() for item in group]
    return [Requirement(text) for text in wanted if not OURS.match(text)]


def unmet(wanted: list[Requirement], lock: Path) -> list[str]:
    locked = pins(lock)
    problems = []
    for requirement in wanted:
        pin = locked.get(canonicalize_name(requirement.name))
        if pin is None:
            problems.append(f"{requirement} is not locked")
        elif not requirement.specifier.contains(pin.version, prereleases=True):
            problems.append(f"{requirement} does not admit the locked {pin.version}")
    return problems


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_lock_holds_what_the_service_asks_for(service: str) -> None:
    wanted = direct(Path("services") / service / "pyproject.toml") + direct(Path("shared/pyproject.toml"))
    assert not unmet(wanted, Path("services") / service / "requirements.lock"), "run `make lock`"


def test_the_development_lock_holds_what_everyone_asks_for() -> None:
    wanted = [
        requirement for service in SERVICES for requirement in direct(Path("services") / service / "pyproject.toml")
    ]
    wanted += direct(Path("pyproject.toml"), groups=True)
    assert not unmet(wanted, Path("requirements-dev.lock")), "run `make lock`"


@pytest.mark.parametrize("lock", [*ALL_LOCKS, *BUILD_LOCKS], ids=str)
def test_every_locked_package_has_hashes_and_no_address(lock: Path) -> None:
    assert pins(lock)
    assert not [name for name, pin in pins(lock).items() if not pin.hashes]
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "index-url" not in text
    assert "clawstead" not in text


@pytest.mark.parametrize("lock", [path for path in ALL_LOCKS if path.name != "requirements-dev.lock"], ids=str)
def test_what_is_deployed_is_what_is_tested(lock: Path) -> None:
    tested = pins(Path("requirements-dev.lock"))
    differing = [name for name, pin in pins(lock).items() if tested.get(name, Pin("-")).version != pin.version]
    assert not differing, "run `make lock`"


def test_certbot_and_its_plugins_are_locked_at_one_version() -> None:
    wanted = re.findall(r"certbot[a-z0-9-]*", (ROOT / "scripts/lock.sh").read_text().splitlines()[-1].split(" ", 2)[2])
    locked = pins(CERTBOT_LOCK)
    assert {name for name in locked if name.startswith("certbot")} == set(wanted), "run `make lock`"
    assert len({locked[name].version for name in wanted}) == 1


def test_the_workspace_supports_the_python_that_it_names() -> None:
    for path in [Path("pyproject.toml"), Path("shared/pyproject.toml"), *(ROOT / "services").glob("*/pyproject.toml")]:
        assert project(path)["project"]["requires-python"] == ">=3.11"
