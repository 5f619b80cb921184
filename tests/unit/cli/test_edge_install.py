"""What the machine's nginx has already, what sudo may let through, and how the edge there is judged."""

from pathlib import Path

import pytest

from clawstead_cli.adapters.nginx_log import NginxLog
from clawstead_cli.nginx_dump import Server, clashes, error_log, servers
from clawstead_cli.sudo_rule import allows, rule_text

NGINX = ("/usr/sbin/nginx", "-s", "reload")
DUMP = r"""nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
# configuration file /etc/nginx/nginx.conf:
http { # a comment with server { listen 1; }
    include /etc/nginx/sites-enabled/*;
    map $a $b { "~^/x{2,3};" 1; }
    init_by_lua_block { local t = { a = { 1 } } -- server { listen 2; }
    }
}

# configuration file /etc/nginx/sites-enabled/shop:
server {
    listen 443 ssl http2 default_server;
    listen [::]:443 ssl;
    listen unix:/run/shop.sock;
    server_name shop.example "www.shop.example";
    location / { if ($host = "a;b{") { return 301 https://shop.example/$1; } proxy_pass http://127.0.0.1:99; }
}
server { listen 10.0.0.1:8443; listen 10.0.0.2; server_name .claw.example; }
"""


def test_servers_of_every_file_are_found_with_what_they_listen_on_and_answer_to() -> None:
    shop = "/etc/nginx/sites-enabled/shop"
    assert servers(DUMP) == [
        Server(shop, (("*", 443), ("[::]", 443)), ("shop.example", "www.shop.example")),
        Server(shop, (("10.0.0.1", 8443), ("10.0.0.2", 80)), (".claw.example",)),
    ]


@pytest.mark.parametrize(
    ("addresses", "ports", "domain", "said"),
    [
        (("0.0.0.0", "[::]"), (8443, 8080), "other.example", ["shop listens on 10.0.0.1:8443"]),
        (("127.0.0.1",), (8443, 80), "other.example", []),
        (("10.0.0.2",), (8443, 80), "other.example", ["shop listens on 10.0.0.2:80"]),
        (("127.0.0.1",), (443, 8080), "x.example", ["shop listens on *:443", "shop listens on [::]:443"]),
        (("127.0.0.1",), (9443, 9080), "claw.example", ["shop owns the name .claw.example"]),
        (("127.0.0.1",), (9443, 9080), "example", ["shop owns the name shop.example"]),
        (("127.0.0.1",), (9443, 9080), "aw.example", []),
    ],
)
def test_what_another_site_has_already_is_named(
    addresses: tuple[str, ...], ports: tuple[int, ...], domain: str, said: list[str]
) -> None:
    found = clashes(servers(DUMP), addresses, ports, (domain, f"*.{domain}"))
    short = [words.removeprefix("/etc/nginx/sites-enabled/") for words in found]
    assert short[: len(said)] == said
    assert bool(short) == bool(said)


def test_nginx_s_own_log_is_the_one_of_its_main_file_outside_of_every_block() -> None:
    http, site = "http { error_log /of/http; }", "# configuration file /etc/nginx/conf.d/a.conf:\nerror_log /of/site;"
    main = "# configuration file /etc/nginx/nginx.conf:"
    assert error_log(f"{main}\nerror_log stderr;\nerror_log /of/all warn;\n{http}\n\n{site}") == "/of/all"
    assert error_log(f"{main}\n{http}\n\n{site}") is None


def test_why_a_reload_was_given_up_is_the_first_thing_that_the_log_has_of_it(tmp_path: Path) -> None:
    path, dump = tmp_path / "error.log", f"# configuration file /x:\nerror_log {tmp_path}/error.log;"
    path.write_text("2026/10/01 10:00:00 [emerg] 7#7: of another day\n")
    log = NginxLog(dump)
    assert (log.complaint(), log.given_up) == (None, False)
    bind = "2026/10/02 10:00:00 [emerg] 7#7: bind() to 127.0.0.1:1 failed (98: Address already in use)\n"
    with path.open("a") as file:
        print(f"2026/10/02 10:00:00 [notice] 7#7: reconfiguring\n{bind}{bind}", end="", file=file)
    assert not log.given_up, "it tries for a while"
    with path.open("a") as file:
        print("2026/10/02 10:00:02 [emerg] 7#7: still could not bind()", file=file)
    assert log.given_up
    said = "bind() to 127.0.0.1:1 failed (98: Address already in use); port 1 is held by another process"
    assert log.complaint() == said


def test_the_rule_lets_one_command_through_and_nothing_that_means_more_to_sudo() -> None:
    text = rule_text("clawstead", NGINX)
    assert allows(text) == ["/usr/sbin/nginx -s reload"]
    assert not set("*?[]!,=\\") & set(allows(text)[0])
    for user, command in (("ALL", NGINX), ("a b", NGINX), ("%wheel", NGINX), ("ok", ("/bin/*", "-s", "reload"))):
        with pytest.raises(ValueError, match="cannot stand in a rule"):
            rule_text(user, command)


def test_what_a_wider_rule_allows_is_seen() -> None:
    wide = (
        "# kept\nDefaults env_reset\nclaw ALL=(root) NOPASSWD: /usr/sbin/nginx *\nclaw ALL=(ALL) \\\n  NOPASSWD: ALL\n"
    )
    assert allows(wide) == ["/usr/sbin/nginx *", "ALL"]
