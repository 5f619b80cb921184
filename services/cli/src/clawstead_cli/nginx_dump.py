"""What the sites of an nginx listen on and answer to, and where it logs, read from ``nginx -T``. Pure.

Not a full parser: it knows comments, quotes, blocks, and Lua blocks by their braces. That is enough for ``server``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FILE = re.compile(r"^# configuration file (?P<path>.+):$")
_WORD = re.compile(r"""\#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\$\{|\\.|[^\s{};"'\#\\])+|\\""", re.DOTALL)
_ANY = {"*", "0.0.0.0", "[::]", "::"}


@dataclass(frozen=True, slots=True)
class Server:
    """One ``server`` block."""

    file: str
    listens: tuple[tuple[str, int], ...]
    """Address and port; sockets of the file system are left out."""
    names: tuple[str, ...]


def servers(dump: str) -> list[Server]:
    """Return every ``server`` block of a whole configuration."""
    return [server for path, text in _files(dump) for server in _servers(path, text)]


def error_log(dump: str) -> str | None:
    """Return the file in which nginx itself writes, None for the one that it was built with."""
    main = next((text for path, text in _files(dump) if path), "")
    named = [words[1] for depth, words in _directives(main) if not depth and words[0] == "error_log"]
    return next((path for path in named if path.startswith("/")), None)


def clashes(
    found: list[Server], addresses: tuple[str, ...], ports: tuple[int, ...], names: tuple[str, ...]
) -> list[str]:
    """Return in words what of ``found`` listens on one of these ports, or owns one of these names."""
    said = []
    for server in found:
        for address, port in server.listens:
            if port in ports and (_ANY & {address, *addresses} or address in addresses):
                said.append(f"{server.file} listens on {address}:{port}")
        said += [f"{server.file} owns the name {name}" for name in server.names if _owned(name, names)]
    return list(dict.fromkeys(said))


def _owned(name: str, ours: tuple[str, ...]) -> bool:
    domain = ours[0]
    return name.lower().removeprefix(".") == domain or name.lower().endswith(f".{domain}")


def _files(dump: str) -> Iterator[tuple[str, str]]:
    path, lines = "", list[str]()
    for line in dump.splitlines():
        if begins := _FILE.match(line):
            yield path, "\n".join(lines)
            path, lines = begins["path"], []
        else:
            lines.append(line)
    yield path, "\n".join(lines)


def _servers(path: str, text: str) -> Iterator[Server]:
    directives = _directives(text)
    for depth, words in directives:
        if words != ["server", "{"]:
            continue
        listens, names = list[tuple[str, int]](), list[str]()
        for inner, inside in directives:
            if inner <= depth:
                break
            if inner == depth + 1 and inside[0] == "listen" and (address := _address(inside[1])):
                listens.append(address)
            elif inner == depth + 1 and inside[0] == "server_name":
                names += inside[1:]
        yield Server(path, tuple(listens), tuple(names))


def _directives(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each directive with its depth; a block ends with ``{``, its end is a lone ``}`` at the block's depth."""
    depth, words = 0, list[str]()
    for word in (match[0] for match in _WORD.finditer(text) if not match[0].startswith("#")):
        if word not in {";", "{", "}"}:
            words.append(word.strip("\"'"))
            continue
        if word == "{":
            yield depth, [*words, "{"]
            depth += 1
        elif word == "}":
            depth -= 1
            yield depth, ["}"]
        elif words:
            yield depth, words
        words = []


def _address(listen: str) -> tuple[str, int] | None:
    if listen.startswith("unix:"):
        return None
    host, colon, port = listen.rpartition(":")
    if not colon or listen.endswith("]"):
        host, port = ("*", listen) if listen.isdecimal() else (listen, "80")
    return (host or "*", int(port)) if port.isdecimal() else None
