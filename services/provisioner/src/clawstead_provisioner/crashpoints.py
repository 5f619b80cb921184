"""A hook for tests: the process dies at a named place, as a power cut would have it, and cleans up nothing.

``CLAWSTEAD_CRASHPOINT`` names the places, separated by commas. Unset, as it always is in production, reaching a
place costs one comparison. ``CLAWSTEAD_CRASHPOINT_BUDGET`` names a directory that says how often: the process
dies at a place only while the file of that name holds a number above zero, and takes one off it first. So "once"
and "twice" hold across restarts.
"""

import os
import sys
import threading
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

_NAMES = "CLAWSTEAD_CRASHPOINT"
_BUDGET = "CLAWSTEAD_CRASHPOINT_BUDGET"
_EXIT_CODE = 137
_dying = threading.Lock()


class Place(StrEnum):
    """Where the provisioner can be made to die: after which step."""

    LOCK_TAKEN = "lock_taken"
    EVENT_RECEIVED = "event_received"
    """Nothing was done about it."""
    DIRECTORIES_MADE = "directories_made"
    FILE_HALF_WRITTEN = "file_half_written"
    """Under its temporary name, and what was written is still in our buffers."""
    NETWORK_MADE = "network_made"
    CONTAINER_MADE = "container_made"
    """The engine has it, nobody was told."""
    PORT_REFUSED = "port_refused"
    """The engine left the container in ``created``."""
    CONTAINER_STARTED = "container_started"
    GATEWAY_READY = "gateway_ready"
    PHASE_SAID = "phase_said"
    EVENT_HANDLED = "event_handled"
    """Everything is done, but the event is not acknowledged."""
    CONTAINER_STOPPED = "container_stopped"
    IMAGE_RESOLVED = "image_resolved"
    """The image that an update asks for is here, the old container runs."""
    STATE_KEPT = "state_kept"
    """The old container is stopped, the new one not made."""
    CANDIDATE_GIVEN_UP = "candidate_given_up"
    """It is written down that the new image failed, but not said."""
    STATE_RESTORED = "state_restored"
    """The new image's container is there, with the state from before it."""
    WAY_BACK_ENDED = "way_back_ended"
    UPDATE_CONFIRMED = "update_confirmed"
    """What led back is gone, nobody was told."""
    DELETE_SAID = "delete_said"
    DELETE_ENDED = "delete_ended"
    """The container was stopped for good, but is there."""
    CONTAINER_REMOVED = "container_removed"
    """Its network and directories are there."""
    DIRECTORIES_REMOVED = "directories_removed"


class _Armed:
    """What the environment asked for."""

    places: frozenset[Place] = frozenset()
    budget: Path | None = None


def arm(environment: Mapping[str, str]) -> None:
    """Take over what the environment asks for.

    Raises:
        ValueError: it names a place that does not exist.
    """
    names = {name.strip() for name in environment.get(_NAMES, "").split(",")} - {""}
    unknown = sorted(names - {place.value for place in Place})
    if unknown:
        raise ValueError(f"{_NAMES}: no such place: {', '.join(unknown)}; there are {', '.join(Place)}")
    _Armed.places = frozenset(Place(name) for name in names)
    _Armed.budget = Path(environment[_BUDGET]) if _BUDGET in environment else None


def crashpoint(place: Place) -> None:
    """Die here, if that was asked for."""
    if place not in _Armed.places:
        return
    # Until the process is gone: another thread at this place must neither spend a second death nor be cut off in it.
    with _dying:
        if _spend(place):
            sys.stderr.write(f"crashpoint {place}\n")
            sys.stderr.flush()
            os._exit(_EXIT_CODE)


def _spend(place: Place) -> bool:
    if _Armed.budget is None:
        return True
    file = _Armed.budget / place
    left = int(file.read_text()) if file.exists() else 0
    if left > 0:
        file.write_text(str(left - 1))
    return left > 0
