"""What the API listens to: every topic, into the projector."""

from clawstead_api.projector import Projector
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import API


def subscribe(bus: Bus, projector: Projector) -> None:
    """Bind the projector to the API's durable consumer."""
    handlers = dict.fromkeys(API.topics, projector.take_in)
    bus.consume(API, handlers, plan=projector.plan, batch=projector.take_in_batch)
