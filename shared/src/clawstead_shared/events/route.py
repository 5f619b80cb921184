"""Topic ``route``, written by proxy-sync: whether the edge sends an instance's hostname to it."""

from pydantic import Field

from clawstead_shared.events.payload import Payload


class Route(Payload):
    """The route of one instance, proved by what the edge serves."""

    generation: int = Field(ge=1)
    """Generation of the observation that the route follows."""
    hostname: str
    upstream: str | None = None
    """``host:port`` of the gateway, None when there is none."""
    active: bool
    """Whether requests reach the upstream; otherwise the edge answers with a page that says why."""
    map_generation: int = Field(ge=0)
    """Generation of the edge's table that was seen served."""
