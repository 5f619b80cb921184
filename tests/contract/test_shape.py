"""Files and functions stay small, names say something, and nothing of one machine is in the repository."""

import ast
import re
from pathlib import Path

from tests.contract.source_tree import ROOT, parsed, python_files, tracked_files

MAX_SOURCE_LINES = 300
MAX_TEST_LINES = 400
MAX_FUNCTION_LINES = 50
EMPTY_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|misc)$")

# Written in parts, so that this file does not hold what it forbids.
MACHINE_TEXT = re.compile(
    "|".join(
        (
            r"files\.python" + r"hosted\.org",
            r"(?<![\w.])pypi" + r"\.org",
            r"registry\." + r"(npmjs|yarnpkg|hub|docker)",
            r"registry-1\." + r"docker",
            r"(ghcr|quay|gcr)" + r"\.io/",
            r"--(extra-)?index" + r"-url[ =]https?:",
            r"/home/" + r"(?!node/)[a-z]\w*/",  # the user of Node images
            r"/Users/" + r"\w+/",
            r"(?<![\w.])/ro" + r"ot/",
        )
    )
)
BINARY = {".png", ".ico", ".woff2", ".gz"}


def test_files_stay_small() -> None:
    offending = []
    for tests, most in ((False, MAX_SOURCE_LINES), (True, MAX_TEST_LINES)):
        for path in python_files(tests=tests):
            lines = len((ROOT / path).read_text().splitlines())
            if lines > most:
                offending.append(f"{path}: {lines} lines, at most {most}")
    assert not offending


def test_functions_stay_short() -> None:
    offending = [
        f"{path}:{node.lineno} {node.name}: {_code_lines(node)} lines"
        for path in python_files(tests=False)
        if "migrations" not in path.parts
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _code_lines(node) > MAX_FUNCTION_LINES
    ]
    assert not offending


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or node.lineno) - body[0].lineno + 1 if body else 0


def test_names_say_something() -> None:
    assert not [str(path) for path in tracked_files() if EMPTY_NAMES.search(path.stem)]


def test_nothing_of_one_machine_is_in_the_repository() -> None:
    offending = []
    for path in tracked_files():
        if path.suffix in BINARY:
            continue
        for number, line in enumerate((ROOT / path).read_text(errors="replace").splitlines(), start=1):
            if found := MACHINE_TEXT.search(line):
                offending.append(f"{path}:{number}: {found[0]}")
    assert not offending


def test_the_forbidden_text_is_recognised() -> None:
    samples = ["pypi" + ".org/simple", "/home/" + "ada/src", "ghcr" + ".io/x/y", "--index" + "-url https://x"]
    assert all(MACHINE_TEXT.search(sample) for sample in samples)
    assert not MACHINE_TEXT.search("apt-get install docker.io; cd /var/lib; see docs.python.org")


def test_every_service_can_be_deployed_alone() -> None:
    for project in sorted((ROOT / "services").glob("*/pyproject.toml")):
        folder = project.parent
        missing = [name for name in ("Dockerfile", "README.md", "requirements.lock") if not (folder / name).is_file()]
        assert not missing, f"{folder.name} lacks {missing}"
        assert f'clawstead{"" if folder.name == "cli" else "-" + folder.name} = "' in project.read_text()


def test_links_between_pages_lead_somewhere() -> None:
    link = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
    offending = [
        f"{page}: {target}"
        for page in tracked_files()
        if page.suffix == ".md"
        for target in link.findall((ROOT / page).read_text())
        if not (ROOT / page.parent / Path(target)).exists()
    ]
    assert not offending
