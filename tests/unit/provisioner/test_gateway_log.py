"""What a gateway's last words are taken to mean."""

from clawstead_provisioner.gateway_log import complaint


def test_the_line_that_says_why_is_found() -> None:
    log = (
        "2026-11-21T07:21:17.912+00:00 [gateway] starting\n"
        "Gateway failed to start: Invalid config at /home/node/.openclaw/openclaw.json: <root>: Unrecognized key\n"
        "Run openclaw doctor to repair.\n"
    )
    assert complaint(log).startswith("Gateway failed to start: Invalid config")


def test_json_lines_are_read_and_control_characters_dropped() -> None:
    assert (
        complaint('{"time":"t","level":"error","message":"\\u001b[31mfatal error\\u001b[0m: x\\u0007"}')
        == "fatal error: x"
    )


def test_otherwise_the_last_line_counts_and_length_is_bounded() -> None:
    assert complaint("one\ntwo\n\n") == "two"
    assert complaint("") == "the gateway said nothing"
    assert len(complaint("x" * 10_000)) == 500
