"""The whole lifecycle table: every command in every desired state and phase."""

import itertools

import pytest

from clawstead_api.errors import CommandRefusedError
from clawstead_api.lifecycle import EVENT_TYPES, Command, Transition, decide
from clawstead_shared.events import DesiredState, Phase

RUNNING, STOPPED, DELETED = DesiredState.RUNNING, DesiredState.STOPPED, DesiredState.DELETED
OTHER_PHASES = [phase for phase in Phase if phase not in {Phase.FAILED, Phase.REMOVED}]

# (command, desired state): where it leads, and whether that is a new generation when nothing has failed.
TABLE = {
    (Command.START, RUNNING): (RUNNING, False),
    (Command.START, STOPPED): (RUNNING, True),
    (Command.START, DELETED): None,
    (Command.STOP, RUNNING): (STOPPED, True),
    (Command.STOP, STOPPED): (STOPPED, False),
    (Command.STOP, DELETED): None,
    (Command.RESTART, RUNNING): (RUNNING, True),
    (Command.RESTART, STOPPED): None,
    (Command.RESTART, DELETED): None,
    (Command.RECONFIGURE, RUNNING): (RUNNING, True),
    (Command.RECONFIGURE, STOPPED): (STOPPED, True),
    (Command.RECONFIGURE, DELETED): None,
    (Command.UPDATE, RUNNING): (RUNNING, True),
    (Command.UPDATE, STOPPED): (STOPPED, True),
    (Command.UPDATE, DELETED): None,
    (Command.ROTATE_TOKEN, RUNNING): (RUNNING, True),
    (Command.ROTATE_TOKEN, STOPPED): (STOPPED, True),
    (Command.ROTATE_TOKEN, DELETED): None,
    (Command.DELETE, RUNNING): (DELETED, True),
    (Command.DELETE, STOPPED): (DELETED, True),
    (Command.DELETE, DELETED): (DELETED, False),
}


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(itertools.product(Command, DesiredState))
    assert set(EVENT_TYPES) == set(Command)


@pytest.mark.parametrize("phase", OTHER_PHASES)
@pytest.mark.parametrize(("command", "desired_state"), TABLE)
def test_each_command_leads_where_the_table_says(command: Command, desired_state: DesiredState, phase: Phase) -> None:
    expected = TABLE[command, desired_state]
    if expected is None:
        with pytest.raises(CommandRefusedError):
            decide(command, desired_state, phase)
    else:
        assert decide(command, desired_state, phase) == Transition(*expected)


@pytest.mark.parametrize(("command", "desired_state"), [key for key, value in TABLE.items() if value])
def test_after_a_failure_every_command_tries_again(command: Command, desired_state: DesiredState) -> None:
    assert decide(command, desired_state, Phase.FAILED).new_generation


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("desired_state", DesiredState)
def test_deleting_is_always_possible_and_final(desired_state: DesiredState, phase: Phase) -> None:
    assert decide(Command.DELETE, desired_state, phase).desired_state is DELETED


@pytest.mark.parametrize("command", [command for command in Command if command is not Command.DELETE])
def test_nothing_is_done_to_what_is_removed(command: Command) -> None:
    with pytest.raises(CommandRefusedError, match="removed"):
        decide(command, RUNNING, Phase.REMOVED)
