"""What each command means in each state: pure, so that the whole table can be read and tested at once."""

from dataclasses import dataclass
from enum import StrEnum

from clawstead_api.errors import CommandRefusedError
from clawstead_shared.events import DesiredState, EventType, Phase


class Command(StrEnum):
    """What an owner may ask of an instance that exists."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RECONFIGURE = "reconfigure"
    UPDATE = "update"
    ROTATE_TOKEN = "rotate_token"  # noqa: S105 - a name
    DELETE = "delete"


EVENT_TYPES = {
    Command.START: EventType.START_REQUESTED,
    Command.STOP: EventType.STOP_REQUESTED,
    Command.RESTART: EventType.RESTART_REQUESTED,
    Command.RECONFIGURE: EventType.RECONFIGURED,
    Command.UPDATE: EventType.UPDATE_REQUESTED,
    Command.ROTATE_TOKEN: EventType.TOKEN_ROTATION_REQUESTED,
    Command.DELETE: EventType.DELETE_REQUESTED,
}

_RUNNING, _STOPPED, _DELETED = DesiredState.RUNNING, DesiredState.STOPPED, DesiredState.DELETED

# What is absent is refused. Deleting is always possible, and final.
_NEXT: dict[Command, dict[DesiredState, DesiredState]] = {
    Command.START: {_RUNNING: _RUNNING, _STOPPED: _RUNNING},
    Command.STOP: {_RUNNING: _STOPPED, _STOPPED: _STOPPED},
    Command.RESTART: {_RUNNING: _RUNNING},
    Command.RECONFIGURE: {_RUNNING: _RUNNING, _STOPPED: _STOPPED},
    Command.UPDATE: {_RUNNING: _RUNNING, _STOPPED: _STOPPED},
    Command.ROTATE_TOKEN: {_RUNNING: _RUNNING, _STOPPED: _STOPPED},
    Command.DELETE: {_RUNNING: _DELETED, _STOPPED: _DELETED, _DELETED: _DELETED},
}
_ALWAYS_NEW = {Command.RESTART, Command.RECONFIGURE, Command.UPDATE, Command.ROTATE_TOKEN}
_WHY_NOT = {
    _STOPPED: "the instance is stopped; start it first",
    _DELETED: "the instance is being deleted",
}


@dataclass(frozen=True, slots=True)
class Transition:
    """Where a command leads."""

    desired_state: DesiredState
    new_generation: bool
    """False when the instance is already asked to be so: the command is accepted and changes nothing."""


def decide(command: Command, desired_state: DesiredState, phase: Phase) -> Transition:
    """Say what ``command`` does to an instance that is asked to be ``desired_state`` and is in ``phase``.

    Repeating a command is harmless, except after a failure, where it means: try again.

    Raises:
        CommandRefusedError: it makes no sense in this state.
    """
    if phase is Phase.REMOVED and command is not Command.DELETE:
        raise CommandRefusedError("the instance is removed")
    following = _NEXT[command].get(desired_state)
    if following is None:
        raise CommandRefusedError(_WHY_NOT[desired_state])
    changed = following is not desired_state or command in _ALWAYS_NEW or phase is Phase.FAILED
    return Transition(following, changed)
