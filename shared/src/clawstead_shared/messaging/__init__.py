"""The bus: one broker factory that knows every FastStream and nats-py trap, and the rules of delivery."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clawstead_shared.messaging.log import Log, Stored
from clawstead_shared.messaging.ports import EventReader, EventSink

if TYPE_CHECKING:
    from clawstead_shared.messaging.bus import Bus, Handler
    from clawstead_shared.messaging.log_watch import LogWatch

__all__ = ["Bus", "EventReader", "EventSink", "Handler", "Log", "LogWatch", "Stored"]

# FastStream and what else only services need: those who just read the log, like a command line, start without it.
_WHEN_NEEDED = {"Bus": "bus", "Handler": "bus", "LogWatch": "log_watch"}


def __getattr__(name: str) -> Any:
    if name in _WHEN_NEEDED:
        return getattr(import_module(f"{__name__}.{_WHEN_NEEDED[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
