"""The bus: one broker factory that knows every FastStream and nats-py trap, and the rules of delivery."""

from clawstead_shared.messaging.bus import Bus, Handler
from clawstead_shared.messaging.log import Log, Stored
from clawstead_shared.messaging.log_watch import LogWatch
from clawstead_shared.messaging.ports import EventReader, EventSink

__all__ = ["Bus", "EventReader", "EventSink", "Handler", "Log", "LogWatch", "Stored"]
