"""Waiting for gateways to start. No start is ever cut short; one that takes too long is only reported."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

from prometheus_client import Histogram

from clawstead_provisioner.background import Background
from clawstead_provisioner.boot_slots import BootSlots
from clawstead_provisioner.ports import Gateway

BOOT = Histogram(
    "clawstead_gateway_boot_seconds",
    "From a container's start until its gateway said that it has started",
    buckets=(0.01, 0.1, 1, 5, 10, 20, 30, 60, 120, 300, 600),
)

_KIND = "boot"
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.25
_OVERDUE_PAUSE_SECONDS = 5.0
_PAUSE_GROWTH = 1.3
_SLOW_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Boot:
    """One start to wait for."""

    instance_id: str
    port: int
    startup_path: str
    timeout_seconds: float
    """After which it counts as failed, although the wait goes on."""
    grace_seconds: float
    """After which it no longer keeps others from starting."""


@dataclass(frozen=True, slots=True)
class Milestones:
    """Who is told how a boot goes."""

    ready: Callable[[], None]
    slow: Callable[[], None]
    """It takes long enough to be worth telling; called once at most."""
    overdue: Callable[[], None]
    """The timeout has passed; called once at most."""


class BootWatch:
    """The boots under way, one per instance; each has a slot until it ends, or takes longer than it should."""

    def __init__(self, gateway: Gateway, background: Background, slots: BootSlots) -> None:
        self._gateway = gateway
        self._background = background
        self._slots = slots

    def watch(self, boot: Boot, milestones: Milestones) -> None:
        """Begin to wait for a start; the instance's previous wait ends."""
        self._slots.hold(boot.instance_id)
        self._background.start(_KIND, boot.instance_id, self._wait(boot, milestones))

    def watching(self, instance_id: str) -> bool:
        """Say whether a start of this instance is being waited for."""
        return self._background.running(_KIND, instance_id)

    def cancel(self, instance_id: str) -> None:
        """Stop waiting for this instance."""
        self._background.cancel(_KIND, instance_id)
        self._slots.release(instance_id)

    async def _wait(self, boot: Boot, milestones: Milestones) -> None:
        begun, pause = time.monotonic(), _FIRST_PAUSE_SECONDS
        marks: list[tuple[float, Callable[[], None]]] = [
            (boot.timeout_seconds, milestones.overdue),
            (boot.grace_seconds, partial(self._slots.release, boot.instance_id)),
            (_SLOW_SECONDS, milestones.slow),
        ]
        later = sorted(marks, key=itemgetter(0), reverse=True)
        while not await self._gateway.answers(boot.port, boot.startup_path):
            elapsed = time.monotonic() - begun
            while later and elapsed >= later[-1][0]:
                later.pop()[1]()
            await asyncio.sleep(pause)
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS) if later else _OVERDUE_PAUSE_SECONDS
        BOOT.observe(time.monotonic() - begun)
        self._slots.release(boot.instance_id)
        milestones.ready()
