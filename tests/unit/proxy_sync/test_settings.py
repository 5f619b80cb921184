"""Settings: what is read, and what is refused."""

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from clawstead_proxy_sync.adapters.nginx_command import decisive_line
from clawstead_proxy_sync.app import listen_addresses
from clawstead_proxy_sync.backoff import Backoff
from clawstead_proxy_sync.settings import Settings


def test_addresses_are_separated_by_commas_and_written_as_nginx_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWSTEAD_EDGE_ADDRESSES", "127.0.0.1, [::1]")
    settings = Settings()
    assert settings.edge_addresses == (ip_address("127.0.0.1"), ip_address("::1"))
    assert listen_addresses(settings) == ("127.0.0.1", "[::1]")


def test_without_addresses_the_edge_listens_everywhere() -> None:
    assert listen_addresses(Settings())[0] == "0.0.0.0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EDGE_ADDRESSES", "everywhere"),
        ("EDGE_ADDRESSES", "0.0.0.0; include /etc/passwd"),
        ("API_HOST", "x; }"),
        ("DOMAIN", "a b"),
        ("HTTP_PORT", "0"),
    ],
)
def test_what_would_break_the_configuration_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CLAWSTEAD_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_the_folder_does_not_depend_on_the_working_directory() -> None:
    assert Settings().directory.is_absolute()


def test_waits_double_up_to_the_longest_and_start_over() -> None:
    backoff = Backoff(first=1, last=5)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "nginx: [warn] something\nnginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)\n"
            "nginx: [emerg] still could not bind()\n",
            "bind() to 0.0.0.0:80 failed (98: Address already in use)",
        ),
        ("2026/01/01 00:00:00 [emerg] 7#7: unexpected end of file", "7#7: unexpected end of file"),
        ("Killed", "Killed"),
        ("", "no reason given"),
    ],
)
def test_the_decisive_line_of_a_complaint_is_found(text: str, line: str) -> None:
    assert decisive_line(text) == line
