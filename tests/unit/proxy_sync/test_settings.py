"""Settings: what is read, and what is refused."""

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from clawstead_proxy_sync.adapters.nginx_command import decisive_line
from clawstead_proxy_sync.backoff import Backoff
from clawstead_proxy_sync.edge_config import listen_addresses
from clawstead_proxy_sync.rates import Rate
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
        ("EDGE_RATE_CREATE", "often"),
        ("EDGE_RATE_CREATE", "0/m"),
        ("EDGE_RATE_LOGIN", "30/m; }"),
        ("EDGE_RATE_TERMINAL", "30/h"),
        ("EDGE_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("EDGE_TRUSTED_PROXIES", "::/0"),
        ("EDGE_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("EDGE_TRUSTED_PROXIES", "proxy.example"),
        ("EDGE_CLIENT_HEADER", "X-Client;"),
        ("DASHBOARD_DIR", "/nowhere"),
    ],
)
def test_what_would_break_the_configuration_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CLAWSTEAD_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("30/m", Rate(30, "m", 30)),
        (" 5/s burst=20 ", Rate(5, "s", 20)),
        ("1/m burst=0", Rate(1, "m", 0)),
        ("off", None),
        ("0", None),
        ("", None),
    ],
)
def test_a_rate_is_so_many_in_a_time(monkeypatch: pytest.MonkeyPatch, text: str, rate: Rate | None) -> None:
    monkeypatch.setenv("CLAWSTEAD_EDGE_RATE_CREATE", text)
    assert Settings().edge_rate_create == rate
    assert dict(Settings().limits).get("create") == rate


def test_who_is_refused_is_told_to_wait_until_there_is_room() -> None:
    waits = [Rate(1, "m", 0).wait_seconds, Rate(7, "m", 9).wait_seconds, Rate(100, "s", 1).wait_seconds]
    assert waits == [60, 9, 1]


def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWSTEAD_EDGE_TRUSTED_PROXIES", "10.0.0.7, 2001:db8::/32")
    assert [str(network) for network in Settings().edge_trusted_proxies] == ["10.0.0.7/32", "2001:db8::/32"]


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
