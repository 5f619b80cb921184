"""Prints every instance as its owner, the API, the log and the engine know it, so that two looks can be compared.

One JSON document, always in the same order. Tokens appear as digests only. Reads CLAWSTEAD_DATA_DIR and
CLAWSTEAD_ADMIN_TOKEN, as ``clawstead`` does.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker

from clawstead_cli.adapters.api_http import ApiHttp
from clawstead_cli.api_access import api_of
from clawstead_cli.errors import CommandError

_KEPT = ("name", "plan", "subdomain", "channel", "ai_provider", "image", "desired_state", "generation", "phase", "url")
_LOGGED = ("desired", "generation", "phase", "observed_generation")
_PAGE = 200


def look(api: ApiHttp, engine: Any, logged: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is seen of every instance.

    Raises:
        CommandError: the API does not answer, or refuses.
    """
    found = []
    cursor: str | None = None
    while True:
        page = api.get("/instances", limit=_PAGE, cursor=cursor)
        found += [_instance(api, engine, logged, item["id"]) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return sorted(found, key=lambda each: str(each["id"]))


def _instance(api: ApiHttp, engine: Any, logged: Mapping[str, Any], instance_id: str) -> dict[str, Any]:
    shown = api.get(f"/instances/{instance_id}")
    events = api.get(f"/instances/{instance_id}/events", limit=_PAGE)["items"]
    token = shown["gateway_token"]
    containers = engine.containers.list(all=True, filters={"label": f"ing.clawstead.instance={instance_id}"})
    return {
        "id": instance_id,
        **{field: shown[field] for field in _KEPT},
        "caught_up": shown["observed_generation"] == shown["generation"],
        "token_digest": token and hashlib.sha256(token.encode()).hexdigest()[:16],
        "changes_in_history": sorted({event["generation"] for event in events if event["topic"] == "desired"}),
        "in_log": logged.get(instance_id),
        "containers": [
            {"id": container.id[:12], "started_at": container.attrs["State"]["StartedAt"]} for container in containers
        ],
    }


def _logged() -> dict[str, Any]:
    program = Path(sys.executable).with_name("clawstead")
    told = subprocess.run([program, "state", "--json"], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if told.returncode != 0:
        raise CommandError(told.stderr.strip())
    rows = json.loads(told.stdout)["instances"]
    return {row["id"]: {field: row[field] for field in _LOGGED} for row in rows}


def main() -> None:
    """Look once."""
    try:
        api = api_of(None, None, os.environ.get("CLAWSTEAD_ADMIN_TOKEN"))
        found = look(api, docker.from_env(timeout=60), _logged())
    except CommandError as error:
        sys.exit(f"{error}")
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
