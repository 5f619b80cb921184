"""The edge in memory: keeps ``Edge`` for the rules' unit tests."""

import asyncio

from clawstead_proxy_sync.errors import EdgeRefusedError, EdgeUnavailableError
from clawstead_proxy_sync.nginx_map import Page, RouteMap, Routes, Upstream, check_label
from clawstead_proxy_sync.ports import Report


class FakeEdge:
    """Serves a table at once, and records what was done to it in order."""

    def __init__(self) -> None:
        self.served: RouteMap | None = RouteMap(1, {})
        self.stored = self.served
        self.leads = False
        """Whether single lines change at once."""
        self.draining = 0
        self.crowded = False
        self.gates: set[str] = set()
        self.shown: dict[str, Page] = {}
        self.actions: list[str] = []
        self.published: list[RouteMap] = []
        self.damaged = False
        self.refusals = 0
        self.publishing = asyncio.Event()
        self.publishing.set()
        self._up = asyncio.Event()

    async def run(self, report: Report) -> None:
        self._up.set()
        report(None)
        try:
            await asyncio.Event().wait()
        finally:
            self._up.clear()

    async def up(self) -> None:
        await self._up.wait()

    async def publish(self, routes: Routes) -> RouteMap:
        if not self._up.is_set():
            raise EdgeUnavailableError("the fake edge does not run")
        for label in routes:
            check_label(label)
        await self.publishing.wait()
        if self.refusals:
            self.refusals -= 1
            raise EdgeRefusedError("the fake edge was told to refuse")
        generation = (self.served.generation if self.served else 0) + 1
        self.served = RouteMap(generation, dict(routes))
        self.stored = self.served
        self.published.append(self.served)
        self.actions.append(f"publish {' '.join(sorted(routes))}".strip())
        self.damaged = False
        return self.served

    async def lead(self, label: str, upstream: Upstream | None) -> bool:
        check_label(label)
        if self.served is None or not self._up.is_set() or self.served.routes.get(label) == upstream:
            return self.served is not None and self._up.is_set()
        if not self.leads:
            return False
        others = {name: target for name, target in self.served.routes.items() if name != label}
        self.served = RouteMap(self.served.generation + 1, others | ({label: upstream} if upstream else {}))
        self.actions.append(f"lead {label}")
        return True

    async def intact(self) -> bool:
        return not self.damaged

    async def repair(self) -> None:
        self.damaged = False

    def open_gate(self, label: str) -> None:
        check_label(label)
        self.gates.add(label)
        self.actions.append(f"open {label}")

    def close_gate(self, label: str, page: Page | None = None) -> None:
        self.gates.discard(label)
        self.shown.pop(label, None)
        if page:
            self.shown[label] = page
        self.actions.append(f"close {label}")

    def open_gates(self) -> set[str]:
        return set(self.gates)

    def pages(self) -> dict[str, Page]:
        return dict(self.shown)
