"""The instances of the token's owner, behind the API: found by id or name, created, ordered about, deleted."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from pydantic import ValidationError

from clawstead_cli.adapters.api_http import NotThereError
from clawstead_cli.errors import CommandError, UsageError
from clawstead_cli.instance import DELETED, Instance
from clawstead_shared.control import InstanceLogs
from clawstead_shared.ids import is_instance_id, new_event_id

_PAGE = 200
_EVENTS_PAGE = 200
_VERDICTS = 20


class Api(Protocol):
    """The API; see ``adapters.api_http.ApiHttp`` for what each call raises."""

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """Read something."""
        ...

    def post(self, path: str, body: Mapping[str, Any], *, key: str) -> dict[str, Any]:
        """Order something; repeating it with the same key has no further effect."""
        ...

    def delete(self, path: str, **query: str) -> dict[str, Any]:
        """Have something deleted."""
        ...


class Instances:
    """One run of a command over them: what it orders twice is ordered once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._run = new_event_id()

    def everyone(self, *, name: str | None = None, phase: str | None = None) -> list[Instance]:
        """Return all instances, newest first, or those of a name or phase."""
        found: list[Instance] = []
        cursor: str | None = None
        while True:
            page = self._api.get("/instances", limit=_PAGE, cursor=cursor, name=name, phase=phase)
            found += [_read(item) for item in items_of(page)]
            cursor = page.get("next_cursor")
            if cursor is None:
                return found

    def find(self, reference: str) -> Instance:
        """Return the instance with this id, or the only one with this name.

        Raises:
            NotThereError: there is none.
            UsageError: several have the name.
        """
        if is_instance_id(reference):
            return self.look(reference)
        named = self.everyone(name=reference)
        if not named:
            raise NotThereError(f"no instance has the id or name {reference!r}", hint="`clawstead instances list`")
        if len(named) > 1:
            ids = ", ".join(instance.id for instance in named)
            raise UsageError(f"{len(named)} instances are called {reference!r}: {ids}", hint="name one by its id")
        # A list leaves out what only the owner of one instance sees.
        return self.look(named[0].id)

    def look(self, instance_id: str) -> Instance:
        """Return one instance as it is now.

        Raises:
            NotThereError: there is none, or it is removed.
        """
        return _read(self._api.get(f"/instances/{instance_id}"))

    def create(self, request: Mapping[str, Any]) -> Instance:
        """Order a new instance."""
        return _read(self._api.post("/instances", request, key=f"{self._run}-create"))

    def order(self, instance: Instance, verb: str, request: Mapping[str, Any] | None = None) -> Instance:
        """Order ``verb`` of an instance."""
        path = f"/instances/{instance.id}/{verb}"
        return _read(self._api.post(path, request or {}, key=f"{self._run}-{verb}-{instance.id}"))

    def delete(self, instance: Instance, *, force: bool = False) -> Instance:
        """Have an instance deleted, with its data."""
        return _read(self._api.delete(f"/instances/{instance.id}", **({"force": "true"} if force else {})))

    def events(self, instance_id: str) -> list[dict[str, Any]]:
        """Return the newest events of an instance, oldest first."""
        page = self._api.get(f"/instances/{instance_id}/events", limit=_EVENTS_PAGE)
        return list(reversed(items_of(page)))

    def last_start(self, instance_id: str) -> datetime | None:
        """Return when the health monitor saw the newest start; None if it has not lately, or the instance is gone."""
        try:
            changes = self._api.get(f"/instances/{instance_id}/health", limit=_VERDICTS).get("changes") or ()
        except NotThereError:
            return None
        starts = (change["since"] for change in changes if change.get("verdict") == "starting")
        newest = next(starts, None)
        return datetime.fromisoformat(newest) if newest else None

    def logs(self, instance_id: str, *, tail: int) -> InstanceLogs:
        """Return the newest ``tail`` lines of an instance's log, oldest first."""
        try:
            return InstanceLogs.model_validate(self._api.get(f"/instances/{instance_id}/logs", tail=tail))
        except ValidationError as error:
            raise CommandError(f"the API answers with a log that this version cannot read: {error}") from error


def require_choice(reference: str | None, *, every: bool) -> None:
    """Check that either one instance is named, or all are meant.

    Raises:
        UsageError: both or neither.
    """
    if every == bool(reference):
        raise UsageError("name one instance, or --all", hint="`--help` shows how")


def chosen(instances: Instances, reference: str | None) -> Sequence[Instance]:
    """Return the one that is named, or all that are not being deleted.

    Raises:
        UsageError: the name is ambiguous.
        NotThereError: there is no such instance.
    """
    if reference is not None:
        return [instances.find(reference)]
    return [instance for instance in instances.everyone() if instance.desired_state != DELETED]


def items_of(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is on a page of a list.

    Raises:
        CommandError: it is no such page: something else answers in the API's place.
    """
    items = page.get("items")
    if not isinstance(items, list):
        raise CommandError("what answers is not the API", hint="--url names it; `clawstead status` says what runs")
    return items


def _read(document: Mapping[str, Any]) -> Instance:
    try:
        return Instance.model_validate(document)
    except ValidationError as error:
        raise CommandError(f"the API answers with an instance that this version cannot read: {error}") from error
