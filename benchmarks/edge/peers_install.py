"""Fetches the peers into the cache of the tree: nothing of the machine is changed, and no service starts."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "benchmarks"
CHP_VERSION = "5.3.0"

_PACKAGES = {
    "haproxy": ("haproxy", "liblua5.3-0", "libopentracing1", "libopentracing-c-wrapper0"),
    "caddy": ("caddy",),
    "wrk": ("wrk", "libluajit-5.1-2", "libluajit-5.1-common"),
}
"""Debian's packages of each program, with what it needs and a machine may lack."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to run one peer."""

    command: tuple[str, ...]
    environment: dict[str, str]


def debian(name: str) -> Program:
    """Return a program of a Debian package: the machine's own, else the package's files in the cache."""
    if found := shutil.which(name):
        return Program((found,), {})
    root = CACHE / name
    if not root.exists():
        _unpack(_PACKAGES[name], root)
    binary = next(path for folder in ("usr/sbin", "usr/bin") if (path := root / folder / name).is_file())
    libraries = [str(path) for path in sorted((root / "usr/lib").glob("*-linux-gnu*"))]
    return Program((str(binary),), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {})


def configurable_http_proxy() -> Program:
    """Return configurable-http-proxy, installed with npm into the cache."""
    root = CACHE / f"configurable-http-proxy-{CHP_VERSION}"
    script = root / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
    if not script.exists():
        new = _fresh(root)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(new)]
        _run([*command, f"configurable-http-proxy@{CHP_VERSION}"], new)
        new.rename(root)
    return Program(("node", str(script)), {})


def _unpack(packages: tuple[str, ...], root: Path) -> None:
    new = _fresh(root)
    _run(["apt-get", "download", *packages], new)
    for package in sorted(new.glob("*.deb")):
        _run(["dpkg-deb", "-x", package.name, "."], new)
        package.unlink()
    new.rename(root)


def _fresh(root: Path) -> Path:
    # Made beside its place and moved there when it is whole, so that a broken download is begun again.
    new = root.with_name(f"{root.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    return new


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr.strip()}")
