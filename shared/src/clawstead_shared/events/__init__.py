"""The wire contract: what each topic carries, and the envelope that carries it.

Every message is a full snapshot of its topic for one instance, so the newest message per subject is the
whole present and all messages together are the history. Within v1 fields are only ever added, as optional.
"""

from clawstead_shared.events.desired import (
    AuditLink,
    Channel,
    Desired,
    DesiredState,
    InstanceSpec,
    Limits,
    Provider,
    RestartRequest,
    SecretRef,
)
from clawstead_shared.events.envelope import Event, EventType, MalformedEventError, decode, encode
from clawstead_shared.events.health import Health, RestartWanted, Verdict
from clawstead_shared.events.observed import (
    ExitCause,
    ImageVersion,
    Observed,
    Phase,
    Progress,
    Reason,
    RejectedImage,
    Warning,
    WarningCode,
)
from clawstead_shared.events.payload import Payload
from clawstead_shared.events.route import Route
from clawstead_shared.events.terminal import SessionEnd, Terminal

__all__ = [
    "AuditLink",
    "Channel",
    "Desired",
    "DesiredState",
    "Event",
    "EventType",
    "ExitCause",
    "Health",
    "ImageVersion",
    "InstanceSpec",
    "Limits",
    "MalformedEventError",
    "Observed",
    "Payload",
    "Phase",
    "Progress",
    "Provider",
    "Reason",
    "RejectedImage",
    "RestartRequest",
    "RestartWanted",
    "Route",
    "SecretRef",
    "SessionEnd",
    "Terminal",
    "Verdict",
    "Warning",
    "WarningCode",
    "decode",
    "encode",
]
