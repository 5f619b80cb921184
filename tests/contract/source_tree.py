"""The repository's own files, as the contract tests look at them."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("api", "provisioner", "proxy-sync", "health", "terminal", "keeper", "cli")


def tracked_files() -> list[Path]:
    """Return every file that git tracks or would, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [Path(name) for name in sorted(filter(None, listed.split("\0"))) if (ROOT / name).is_file()]


def python_files(*, tests: bool) -> list[Path]:
    """Return our Python files, those of the tests or the others."""
    return [path for path in tracked_files() if path.suffix == ".py" and (path.parts[0] == "tests") == tests]


def package_of(service: str) -> Path:
    """Return the directory of a service's package."""
    return ROOT / "services" / service / "src" / f"clawstead_{service.replace('-', '_')}"


@cache
def parsed(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each absolute import of a file: its line, and the dotted name."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
