"""What the tests of certificates share: the DNS, the ACME servers on it, and how a test gets its own of the rest."""

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from tests.support.acme.bind import BindServer
from tests.support.acme.cloudflare import FakeCloudflare
from tests.support.acme.gate import AcmeGate
from tests.support.acme.server import AcmeServer, DnsServer, Trust

ROOT = Path(__file__).parents[3]
CERTBOT = ROOT / ".tools" / "certbot" / "bin" / "certbot"


class AcmeRig:
    """Started once; the processes behind it end with ``stop``."""

    def __init__(self, directory: Path) -> None:
        assert CERTBOT.exists(), "certbot is not installed: run make setup-dev"
        self.trust = Trust.make(directory)
        self.dns = DnsServer(directory)
        self._directory = directory
        self._servers: dict[tuple[int, timedelta], AcmeServer] = {}
        self._binds: list[BindServer] = []

    def server(self, life: timedelta = timedelta(days=90), dns_port: int | None = None) -> AcmeServer:
        """Return the server whose certificates live that long, and that asks that DNS."""
        key = (dns_port or self.dns.port, life)
        if key not in self._servers:
            directory = self._directory / f"pebble-{len(self._servers)}"
            self._servers[key] = AcmeServer(directory, self.trust, key[0], life=life)
        return self._servers[key]

    def bind(self, zone: str) -> BindServer:
        """Start a BIND for a zone."""
        self._binds.append(BindServer(self._directory / f"bind-{len(self._binds)}", zone))
        return self._binds[-1]

    def stop(self) -> None:
        stops = [each.stop for each in self._servers.values()] + [each.stop for each in self._binds] + [self.dns.stop]
        for stop in stops:
            stop()


class AcmeWorld:
    """One test's view: gates and Cloudflare accounts of its own, closed when it leaves."""

    def __init__(self, rig: AcmeRig) -> None:
        self.rig = rig
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "AcmeWorld":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def gate(self, server: AcmeServer | None = None) -> AcmeGate:
        """Return an open door to a server; the usual one, unless named."""
        gate = AcmeGate(server or self.rig.server(), self.rig.trust)
        await gate.start()
        self._open.push_async_callback(gate.stop)
        return gate

    async def cloudflare(self, zone: str, token: str) -> FakeCloudflare:
        """Return an account that has a zone."""
        account = FakeCloudflare(self.rig.dns, token=token, zone=zone)
        await account.start()
        self._open.push_async_callback(account.stop)
        return account
