"""Gateways and history in memory."""

from clawstead_health.ports import Check
from clawstead_health.verdict import ProbeResult

OK = ProbeResult(response_ms=1.0)
BAD = ProbeResult(error="connection refused")


class FakeGateway:
    """Answers what it was told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.result = OK
        self.asked: list[tuple[str, int, str]] = []

    async def probe(self, host: str, port: int, path: str) -> ProbeResult:
        self.asked.append((host, port, path))
        return self.result


class FakeHistory:
    """Keeps all checks."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def record(self, check: Check) -> None:
        self.checks.append(check)
