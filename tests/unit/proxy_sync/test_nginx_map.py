"""The table as text: deterministic, read back, and closed to every injection that nginx would accept."""

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawstead_proxy_sync.errors import UnroutableError
from clawstead_proxy_sync.nginx_map import (
    RESERVED_LABELS,
    RouteMap,
    Upstream,
    check_label,
    parse,
    render,
)

HOSTILE_LABELS = [
    *sorted(RESERVED_LABELS),
    "",
    "a.b",
    "a;b",
    'a" 127.0.0.1:1; "b',
    "a} server {",
    "~^.*$",
    "*.x",
    ".x",
    "-x",
    "x-",
    "A",
    "a_b",
    "a b",
    "a\n",
    "a\nb",
    "a\0",
    "ä",
    "xn--ä",
    "../x",
    "a/b",
    "$host",
    "a" * 64,
    "a" * 130,
]
HOSTILE_HOSTS = [
    "",
    "localhost",
    "127.0.0.1;",
    "127.0.0.1:80",
    "127.1",
    "0x7f.0.0.1",
    "2130706433",
    "0.0.0.0",
    "::",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "224.0.0.1",
    "0:0:0:0:0:0:0:1",
    "127.0.0.1\n",
    "$host",
    "unix:/run/x",
]

# Drawn as one text: from_regex() draws each character by itself, which takes longer.
labels = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=63).filter(
    lambda label: label.strip("-") == label and label not in RESERVED_LABELS
)
upstreams = st.builds(
    Upstream,
    st.sampled_from(["127.0.0.1", "10.1.2.3", "::1", "2001:db8::7"]),
    st.integers(min_value=1, max_value=65535),
)
tables = st.builds(
    RouteMap,
    st.integers(min_value=0, max_value=2**53),
    st.dictionaries(labels, upstreams),
)


def test_a_table_is_sorted_counted_digested_and_ends_with_its_generation() -> None:
    routes = {"b": Upstream("10.0.0.7", 80), "a": Upstream("127.0.0.1", 10001), "c6": Upstream("::1", 8)}
    header, *lines = render(RouteMap(7, routes)).decode().splitlines()
    assert header.startswith("# clawstead routes: generation 7, 3 lines, sha256 ")
    assert lines == ['"a" 127.0.0.1:10001;', '"b" 10.0.0.7:80;', '"c6" [::1]:8;', '"_generation" 7;']


@given(tables)
def test_what_is_rendered_is_read_back(table: RouteMap) -> None:
    assert parse(render(table)) == table


@given(tables)
def test_equal_tables_give_equal_bytes(table: RouteMap) -> None:
    shuffled = RouteMap(table.generation, dict(reversed(list(table.routes.items()))))
    assert render(shuffled) == render(table)


@given(tables, st.data())
def test_a_table_cut_short_is_never_read(table: RouteMap, data: st.DataObject) -> None:
    text = render(table)
    cut = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    with pytest.raises(ValueError, match=r".+"):
        parse(text[:cut])


@given(tables, st.data())
def test_a_table_with_one_byte_changed_is_never_read(table: RouteMap, data: st.DataObject) -> None:
    text = bytearray(render(table))
    position = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    text[position] ^= data.draw(st.integers(min_value=1, max_value=255))
    with pytest.raises(ValueError, match=r".+"):
        parse(bytes(text))


@pytest.mark.parametrize("label", HOSTILE_LABELS)
def test_a_hostile_label_is_refused_before_it_is_rendered(label: str) -> None:
    with pytest.raises(UnroutableError):
        check_label(label)
    with pytest.raises(UnroutableError):
        render(RouteMap(1, {"good": Upstream("::1", 1), label: Upstream("::1", 1)}))


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
def test_a_hostile_host_never_becomes_an_upstream(host: str) -> None:
    with pytest.raises(UnroutableError):
        Upstream(host, 80)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_never_becomes_an_upstream(port: int) -> None:
    with pytest.raises(UnroutableError):
        Upstream("127.0.0.1", port)


def test_an_injected_line_is_found_even_with_a_matching_digest() -> None:
    body = '"a" 127.0.0.1:1;\n"~^." 127.0.0.1:2;\n"_generation" 3;\n'
    digest = hashlib.sha256(body.encode()).hexdigest()
    forged = f"# clawstead routes: generation 3, 2 lines, sha256 {digest}\n{body}".encode()
    with pytest.raises(ValueError, match="not a line"):
        parse(forged)


@pytest.mark.parametrize(
    "body",
    [
        '"default" 127.0.0.1:1;\n"_generation" 3;\n',
        '"a" 127.0.0.1:1;\n"_generation" 4;\n',
        '"_generation" 3;\n"a" 127.0.0.1:1;\n',
        '"a" nonsense;\n"_generation" 3;\n',
        '"a" 127.0.0.1:0;\n"_generation" 3;\n',
        '"a" 127.0.0.1:1;\n',
    ],
)
def test_a_foreign_table_with_a_matching_digest_is_not_read(body: str) -> None:
    digest = hashlib.sha256(body.encode()).hexdigest()
    count = body.count("\n") - 1
    forged = f"# clawstead routes: generation 3, {count} lines, sha256 {digest}\n{body}".encode()
    with pytest.raises(ValueError, match=r".+"):
        parse(forged)
