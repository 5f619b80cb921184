"""Which workspaces hold more than they should: each one with a quota is measured every few minutes.

Measured, not enforced (docs/adr/0012). One thread of its own scans one workspace after the other.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from prometheus_client import Counter, Gauge, Histogram

from clawstead_provisioner.daemon_pool import DaemonPool
from clawstead_provisioner.workspace_scan import Bounds, Finding, scan

log = structlog.get_logger()

OVER_QUOTA = Gauge("clawstead_workspaces_over_quota", "Workspaces that hold more than their quota")
CUT_OFF = Counter("clawstead_workspace_scans_cut_off", "Scans of workspaces that were too large to measure")
SCAN = Histogram(
    "clawstead_workspace_scan_seconds",
    "Time that the scan of a workspace took",
    buckets=(0.001, 0.01, 0.1, 1, 5, 20),
)

_IDLE_SECONDS = 1.0


class Workspaces:
    """The quotas that are known, and what was measured last."""

    def __init__(
        self,
        root: Path,
        changed: Callable[[str], object],
        *,
        interval_seconds: float,
        bounds: Bounds,
    ) -> None:
        self._root = root
        self._changed = changed
        self._interval = interval_seconds
        self._bounds = bounds
        self._thread = DaemonPool(1, "workspace-scan")
        self._quotas: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._over: dict[str, bool] = {}

    def watch(self, instance_id: str, quota_bytes: int | None) -> None:
        """Measure an instance's workspace from now on, or no longer if it has no quota."""
        if quota_bytes is None:
            self._quotas.pop(instance_id, None)
            self._due.pop(instance_id, None)
            self._over.pop(instance_id, None)
        elif self._quotas.get(instance_id) != quota_bytes:
            self._quotas[instance_id] = quota_bytes
            self._due[instance_id] = time.monotonic()

    def over_quota(self, instance_id: str) -> bool | None:
        """Say whether the workspace holds too much; None while that is not known."""
        return self._over.get(instance_id)

    async def run(self) -> None:
        """Measure for ever, whoever waits longest first."""
        while True:
            instance_id = min(self._due, key=self._due.__getitem__, default=None)
            if instance_id is None or self._due[instance_id] > time.monotonic():
                await asyncio.sleep(min(_IDLE_SECONDS, self._interval))
                continue
            self._due[instance_id] = time.monotonic() + self._interval
            await self._measure(instance_id, self._quotas[instance_id])

    async def _measure(self, instance_id: str, quota: int) -> None:
        begun = time.monotonic()
        directory = self._root / instance_id / "workspace"
        finding = await asyncio.wrap_future(self._thread.submit(lambda: scan(directory, quota, self._bounds)))
        SCAN.observe(time.monotonic() - begun)
        if finding is Finding.UNKNOWN:
            CUT_OFF.inc()
            log.info("workspace too large to measure", instance_id=instance_id)
            return
        over = finding is Finding.OVER
        if self._quotas.get(instance_id) != quota or self._over.get(instance_id) == over:
            return
        self._over[instance_id] = over
        OVER_QUOTA.set(sum(self._over.values()))
        self._changed(instance_id)
