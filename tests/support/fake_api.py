"""Stands in for the API at the command line's port: instances that become what is ordered, a step at each look."""

from collections.abc import Mapping
from typing import Any

from clawstead_cli.adapters.api_http import NotThereError
from clawstead_cli.errors import CommandError
from clawstead_shared.ids import new_instance_id

_STEPS = {
    "running": ["provisioning", "starting", "running"],
    "stopped": ["stopping", "stopped"],
    "deleted": ["deleting", "removed"],
}


class FakeApi:
    """One owner's instances. Keeps ``instances.Api``."""

    def __init__(self, *names: str) -> None:
        self.instances: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        """Method and path of every request."""
        self.keys: list[str] = []
        self.fails_with: dict[str, Any] = {}
        """What an instance shows instead of running."""
        self.errors: list[CommandError] = []
        """What the next requests meet."""
        self.page_size = 200
        self._ahead: dict[str, list[str]] = {}
        for name in names:
            self._make(name, "running")

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        self._ask("GET", path)
        if path == "/instances":
            return self._list(query)
        _, _, instance_id, *rest = path.split("/")
        if rest == ["events"]:
            return {"items": self._known(instance_id)["history"][::-1], "next_before": None}
        return self._look(instance_id)

    def post(self, path: str, body: Mapping[str, Any], *, key: str) -> dict[str, Any]:
        self._ask("POST", path)
        self.keys.append(key)
        if path == "/instances":
            made = self._make(body["name"], "pending")
            self._ahead[str(made["id"])] = list(_STEPS["running"])
            return made
        _, _, instance_id, verb = path.split("/")
        return self._order(instance_id, "stopped" if verb == "stop" else "running")

    def delete(self, path: str, **query: str) -> dict[str, Any]:
        self._ask("DELETE", path)
        return self._order(path.split("/")[2], "deleted")

    def _ask(self, method: str, path: str) -> None:
        self.asked.append(f"{method} {path}")
        if self.errors:
            raise self.errors.pop(0)

    def _make(self, name: str, phase: str) -> dict[str, Any]:
        made = {
            "id": new_instance_id(),
            "name": name,
            "phase": phase,
            "desired_state": "running",
            "generation": 1,
            "observed_generation": 1 if phase == "running" else None,
            "url": f"https://{name}.claw.example",
            "created_at": "2026-01-01T00:00:00Z",
            "gateway_token": "gateway-secret",
            "history": [],
        }
        self.instances[str(made["id"])] = made
        return made

    def _order(self, instance_id: str, goal: str) -> dict[str, Any]:
        instance = self._known(instance_id)
        instance.update(desired_state=goal, generation=instance["generation"] + 1)
        self._ahead[instance_id] = list(_STEPS[goal])
        return dict(instance)

    def _look(self, instance_id: str) -> dict[str, Any]:
        instance = self._known(instance_id)
        if ahead := self._ahead.get(instance_id):
            instance.update(phase=ahead.pop(0), observed_generation=instance["generation"])
            if instance["phase"] == "running":
                instance.update(route_active=True, health=_judged("starting"))
                instance.update(self.fails_with)
        elif instance["phase"] == "running":
            instance["health"] = _judged("healthy")
        if instance["phase"] == "removed":
            del self.instances[instance_id]
            raise NotThereError("no such instance (404)")
        return dict(instance)

    def _known(self, instance_id: str) -> dict[str, Any]:
        if instance_id not in self.instances:
            raise NotThereError("no such instance (404)")
        return self.instances[instance_id]

    def _list(self, query: Mapping[str, Any]) -> dict[str, Any]:
        name, begin = query.get("name"), int(query.get("cursor") or 0)
        found = [each for each in self.instances.values() if name in {None, each["name"]}]
        end = begin + self.page_size
        return {"items": found[begin:end], "next_cursor": str(end) if end < len(found) else None}


def _judged(verdict: str) -> dict[str, str]:
    return {"verdict": verdict, "since": "2026-01-01T00:00:00Z"}
