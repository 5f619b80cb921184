"""The output of containers, asked of the terminal service over the bus. Keeps ``InstanceOutput``."""

from clawstead_api.errors import LogsUnavailableError
from clawstead_shared.control import InstanceLogs, LogsRequest, Verb
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import NobodyAnswersError, RefusedError, ask

_TERMINAL = "terminal"
_SECONDS = 10.0


class TerminalLogs:
    """Asks whoever reaches the engine."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self, request: LogsRequest) -> InstanceLogs:
        """See ``InstanceOutput.read``."""
        if not self._bus.connected:
            raise LogsUnavailableError("the bus is away")
        try:
            return await ask(self._bus.client, _TERMINAL, Verb.LOGS, request, InstanceLogs, timeout=_SECONDS)
        except (NobodyAnswersError, RefusedError) as error:
            raise LogsUnavailableError(str(error)) from error
