"""The drill itself, with our configuration and, so that it is known to see a loss, with the server's default."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.contract.source_tree import ROOT
from tests.support.ports import free_port

DRILL = ROOT / "ops" / "drills" / "nats-power-loss.py"
CANNOT = 3


def drilled(*options: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, str(DRILL), "--seconds", "1", "--port", str(free_port()), *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if ended.returncode == CANNOT:
        pytest.skip(f"this machine cannot: {ended.stderr.strip()}")
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_no_acknowledged_event_is_lost_with_the_power() -> None:
    code, found = drilled()
    assert found["acknowledged"] > 0
    assert (code, found["lost"]) == (0, 0)
    assert found["last_sequence_after"] >= found["last_sequence_acknowledged"]


def test_the_drill_sees_what_the_servers_default_loses() -> None:
    code, found = drilled("--default-sync")
    assert code == 1
    assert found["lost"] > 0
