"""What a gateway's last words are taken to mean."""

from clawstead_provisioner.gateway_log import complaint


def test_the_line_that_says_why_is_found() -> None:
    log = (
        "2026-11-21T07:21:17.912+00:00 [gateway] starting\n"
        "Gateway failed to start: Invalid config at /home/node/.openclaw/openclaw.json: <root>: Unrecognized key\n"
        "Run openclaw doctor to repair.\n"
    )
    assert complaint(log).startswith("Gateway failed to start: Invalid config")


def test_everything_that_is_wrong_is_told_without_the_values() -> None:
    log = (
        "2026-11-21T15:35:33.691+00:00 [gateway] spawn broker ready pid=21\n"
        "2026-11-21T15:35:34.172+00:00 Gateway failed to start: Invalid config at /home/node/.openclaw/openclaw.json:\n"
        'openclaw.json:1 — agents.defaults.heartbeat.every: invalid duration (use ms, s, m, h), got: "canary"\n'
        "openclaw.json:4 — gateway.port: expected number\n"
        'Run "openclaw doctor --fix" to repair, then retry.\n'
        '2026-11-21T15:35:34.175+00:00 Run "openclaw doctor --fix" to repair the config, then retry.\n'
    )
    assert complaint(log) == (
        "Gateway failed to start: Invalid config at /home/node/.openclaw/openclaw.json: "
        "openclaw.json:1 — agents.defaults.heartbeat.every: invalid duration (use ms, s, m, h); "
        "openclaw.json:4 — gateway.port: expected number"
    )


def test_json_lines_are_read_and_control_characters_dropped() -> None:
    assert (
        complaint('{"time":"t","level":"error","message":"\\u001b[31mfatal error\\u001b[0m: x\\u0007"}')
        == "fatal error: x"
    )


def test_otherwise_the_last_line_counts_and_length_is_bounded() -> None:
    assert complaint("one\ntwo\n\n") == "two"
    assert complaint("") == "the gateway said nothing"
    assert len(complaint("x" * 10_000)) == 500
