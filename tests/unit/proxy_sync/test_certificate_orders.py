"""What certbot is asked: the whole line and the whole environment, as data."""

from pathlib import Path

import pytest

from clawstead_proxy_sync.certificates.order import STAGING, Command, Order, Source, arguments, environment

ORDER = Order("claw.example", Source.CLOUDFLARE, email="ops@claw.example", credentials=Path("/data/cloudflare.ini"))
COMMON = [
    *("--config-dir", "config", "--work-dir", "work", "--logs-dir", "logs", "--max-log-backups", "10"),
    *("--deploy-hook", "./deploy", "--disable-hook-validation", "--agree-tos", "--no-eff-email"),
]
PRODUCTION_LINE = ["--server", "https://acme-v02.api.letsencrypt.org/directory"]
CREDENTIALS = ["--dns-cloudflare", "--dns-cloudflare-credentials", "/data/cloudflare.ini"]


def test_a_certificate_for_the_domain_and_its_subdomains_is_ordered() -> None:
    assert arguments(ORDER, Command.CERTONLY) == [
        *["certonly", "--non-interactive", "--cert-name", "claw.example", "-d", "claw.example", "-d", "*.claw.example"],
        "--keep-until-expiring",
        *COMMON,
        *("--email", "ops@claw.example"),
        *PRODUCTION_LINE,
        *CREDENTIALS,
    ]


def test_a_renewal_never_sleeps_and_names_the_certificate_only() -> None:
    assert arguments(ORDER, Command.RENEW) == [
        *["renew", "--non-interactive", "--cert-name", "claw.example", "--no-random-sleep-on-renew"],
        *COMMON,
        *("--email", "ops@claw.example"),
        *PRODUCTION_LINE,
        *CREDENTIALS,
    ]


@pytest.mark.parametrize("command", Command)
def test_force_and_dry_run_are_said_only_when_meant(command: Command) -> None:
    plain, forced, trial = (
        arguments(ORDER, command),
        arguments(ORDER, command, force=True),
        arguments(ORDER, command, dry_run=True),
    )
    assert ("--force-renewal" in plain, "--dry-run" in plain) == (False, False)
    assert ("--force-renewal" in forced, "--keep-until-expiring" in forced) == (True, False)
    assert "--dry-run" in trial


@pytest.mark.parametrize(
    ("directory", "flags", "authority"),
    [
        ("production", PRODUCTION_LINE, PRODUCTION_LINE[1]),
        ("staging", ["--staging"], STAGING),
        ("https://ca.lan/acme/dir", ["--server", "https://ca.lan/acme/dir"], "https://ca.lan/acme/dir"),
    ],
)
def test_each_directory_is_exactly_one_flag(directory: str, flags: list[str], authority: str) -> None:
    order = Order("claw.example", Source.CLOUDFLARE, directory, credentials=Path("/x"))
    line = arguments(order, Command.CERTONLY)
    found = [part for part in line if part in {"--staging", "--server", "--test-cert"}]
    assert (found, order.authority) == (flags[:1], authority)
    assert flags == line[line.index(flags[0]) :][: len(flags)]


def test_every_directory_has_a_folder_of_its_own() -> None:
    directories = ("production", "staging", "https://ca.lan/a", "https://ca.lan/b", "https://ca.lan:1/a")
    names = {Order("claw.example", Source.MANUAL, directory).folder_name for directory in directories}
    assert len(names) == len(directories)
    assert all("/" not in name and not name.startswith(".") for name in names)


def test_what_is_not_given_is_not_said() -> None:
    line = arguments(Order("claw.example", Source.RFC2136, credentials=Path("/x")), Command.CERTONLY)
    assert "--register-unsafely-without-email" in line
    assert not {"--email", "--required-profile", "--dns-rfc2136-propagation-seconds"} & set(line)
    order = Order("a.b", Source.RFC2136, profile="tiny", propagation_seconds=0, credentials=Path("/x"))
    said = " ".join(arguments(order, Command.RENEW))
    assert "--required-profile tiny" in said
    assert said.endswith("--dns-rfc2136 --dns-rfc2136-credentials /x --dns-rfc2136-propagation-seconds 0")


def test_hooks_of_ones_own_are_quoted_for_the_shell() -> None:
    order = Order("a.b", Source.MANUAL, auth_hook=Path("/o p/it's"), cleanup_hook=Path("/clean"))
    assert arguments(order, Command.CERTONLY)[-7:] == [
        *("--manual", "--preferred-challenges", "dns", "--manual-auth-hook", "'/o p/it'\\''s'"),
        *("--manual-cleanup-hook", "'/clean'"),
    ]


def test_certbot_is_given_what_it_needs_and_nothing_of_ours() -> None:
    inherited = {
        "PATH": "/bin",
        "HOME": "/root",
        "https_proxy": "http://proxy:3128",
        "CLOUDFLARE_API_TOKEN": "canary",
        "CLAWSTEAD_NATS_URL": "nats://user:canary@bus",
        "CF_API_KEY": "canary",
    }
    assert environment(ORDER, inherited, Path("/home")) == {
        "PATH": "/bin",
        "https_proxy": "http://proxy:3128",
        "HOME": "/home",
        "TMPDIR": "/home/tmp",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
    }


def test_both_plugins_find_another_cloudflare_and_requests_another_authority() -> None:
    order = Order("a.b", Source.CLOUDFLARE, ca_file=Path("/ca.pem"), cloudflare_url="http://127.0.0.1/v4")
    own = environment(order, {"REQUESTS_CA_BUNDLE": "/etc/other.pem"}, Path("/"))
    assert own["REQUESTS_CA_BUNDLE"] == "/ca.pem"
    assert own["CLOUDFLARE_BASE_URL"] == own["CLOUDFLARE_API_URL"] == "http://127.0.0.1/v4"
