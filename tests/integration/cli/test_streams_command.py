"""``clawstead streams`` on a real server."""

import json

from tests.integration.cli.installation import Installation
from tests.support.nats_server import NatsServer


def test_applying_declares_everything_once(installation: Installation, nats_server: NatsServer) -> None:
    for outcome in ("created", "unchanged"):
        result = installation.run("streams", "apply", "--json", CLAWSTEAD_NATS_URL=nats_server.url)
        assert result.returncode == 0, result.stderr
        assert {row["outcome"] for row in json.loads(result.stdout)} == {outcome}


def test_showing_tells_what_is_not_declared(installation: Installation, nats_server: NatsServer) -> None:
    before = json.loads(installation.run("streams", "show", "--json", CLAWSTEAD_NATS_URL=nats_server.url).stdout)
    assert not any(row["declared"] for row in before["streams"] + before["consumers"])
    installation.run("streams", "apply", CLAWSTEAD_NATS_URL=nats_server.url)
    after = json.loads(installation.run("streams", "show", "--json", CLAWSTEAD_NATS_URL=nats_server.url).stdout)
    assert all(row["declared"] for row in after["streams"] + after["consumers"])
    assert "CLAWSTEAD_DLQ" in installation.run("streams", "show", CLAWSTEAD_NATS_URL=nats_server.url).stdout
