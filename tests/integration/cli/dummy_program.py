"""Stands in for a service program: answers /readyz and obeys SIGTERM, and misbehaves as it is told to.

``CLAWSTEAD_DUMMY_<SERVICE>`` is one of ``crash``, ``unready``, ``migration-fails``,
``slow-migration``.
"""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

NAME = Path(sys.argv[0]).name.removeprefix("clawstead-")
VARIABLE = NAME.replace("-", "_").upper()
MOOD = os.environ.get(f"CLAWSTEAD_DUMMY_{VARIABLE}")
DATA = Path(os.environ["CLAWSTEAD_DATA_DIR"]) / NAME


class Readyz(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        waiting = {"docker": "engine is asleep"} if MOOD == "unready" else {}
        body = json.dumps({"waiting": waiting}).encode()
        self.send_response(503 if waiting else 200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the log to our own lines."""


def one_shot(arguments: list[str]) -> None:
    """``migrate`` and ``admin-token [--new]`` of the API."""
    DATA.mkdir(parents=True, exist_ok=True)
    if arguments == ["migrate"]:
        if MOOD == "migration-fails":
            sys.exit("no such table: instances")
        time.sleep(30 if MOOD == "slow-migration" else 0)
        (DATA / "migrated").touch()
        return
    first = not (DATA / "token").exists()
    (DATA / "token").touch()
    print(json.dumps({"token": "claw_dummy" if first or "--new" in arguments else None}))


def serve() -> None:
    """Run until told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(json.dumps({"time": "2026-01-02T03:04:05.678Z", "level": "info", "event": "ready", "service": NAME}))
    print(json.dumps({"event": "environment", "variables": {**os.environ}}), flush=True)
    if MOOD == "crash":
        sys.exit("cannot go on")
    HTTPServer(("127.0.0.1", int(os.environ[f"CLAWSTEAD_{VARIABLE}_PORT"])), Readyz).serve_forever()


if sys.argv[1:]:
    one_shot(sys.argv[1:])
else:
    serve()
