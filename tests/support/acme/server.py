"""Pebble, the ACME server of Let's Encrypt's own tests, beside its DNS server; both on ports of their own."""

import json
import os
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.ports import free_port

_HOST = "127.0.0.1"
_START_SECONDS = 15


@dataclass(frozen=True)
class Trust:
    """A pair for servers on loopback, signed by itself: who trusts ``authority`` trusts them."""

    authority: Path
    key: Path

    @classmethod
    def make(cls, directory: Path) -> "Trust":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test directory")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(_HOST))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        trust = cls(directory / "directory.pem", directory / "directory.key")
        trust.authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        trust.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return trust

    def server_tls(self) -> ssl.SSLContext:
        """Return what a server on loopback shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority, self.key)
        return context


class DnsServer:
    """The DNS that pebble asks: every name has the TXT records that were put, and answers within microseconds."""

    def __init__(self, directory: Path) -> None:
        self.port, self._management = free_port(), free_port()
        off = [argument for name in ("http01", "https01", "tlsalpn01") for argument in (f"-{name}", "")]
        command = [*off, "-dns01", f"{_HOST}:{self.port}", "-management", f"{_HOST}:{self._management}"]
        self._process = _Process(["pebble-challtestsrv", *command], directory / "dns.log", self._management)

    async def put(self, name: str, value: str) -> None:
        await self._call("set-txt", {"host": f"{name.rstrip('.')}.", "value": value})

    async def clear(self, name: str) -> None:
        """Take all values of a name away."""
        await self._call("clear-txt", {"host": f"{name.rstrip('.')}."})

    async def _call(self, path: str, body: dict[str, str]) -> None:
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.url}/{path}", json=body)).raise_for_status()

    @property
    def url(self) -> str:
        """Where records are put, for shell hooks."""
        return f"http://{_HOST}:{self._management}"

    def stop(self) -> None:
        self._process.stop()


class AcmeServer:
    """One pebble. Its certificates live for ``life``; what it knows is gone when it is stopped."""

    def __init__(self, directory: Path, trust: Trust, dns_port: int, *, life: timedelta = timedelta(days=90)) -> None:
        directory.mkdir()
        self.port, self._management = free_port(), free_port()
        self._trust = trust
        config = {
            "listenAddress": f"{_HOST}:{self.port}",
            "managementListenAddress": f"{_HOST}:{self._management}",
            "certificate": str(trust.authority),
            "privateKey": str(trust.key),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": int(life.total_seconds()),
        }
        path = directory / "pebble.json"
        path.write_text(json.dumps({"pebble": config}))
        # It would reject one nonce in twenty, and wait up to 15 s before it looks at a record.
        variables = {"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}
        command = ["pebble", "-config", str(path), "-dnsserver", f"{_HOST}:{dns_port}"]
        self._process = _Process(command, directory / "pebble.log", self.port, variables)

    @property
    def url(self) -> str:
        """Its directory, in ACME's sense."""
        return f"https://{_HOST}:{self.port}/dir"

    async def root(self) -> bytes:
        """Return the certificate that a visitor must trust: made anew by every pebble."""
        tls = ssl.create_default_context(cafile=str(self._trust.authority))
        async with httpx.AsyncClient(verify=tls) as client:
            answer = await client.get(f"https://{_HOST}:{self._management}/roots/0")
            return answer.raise_for_status().content

    @property
    def log(self) -> str:
        return self._process.log

    def stop(self) -> None:
        self._process.stop()


class _Process:
    def __init__(self, command: list[str], log: Path, port: int, variables: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(variables or {})})
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(port):
            assert self._process.poll() is None, f"{command[0]} ended: {self.log}"
            assert time.monotonic() < deadline, f"{command[0]} does not listen: {self.log}"
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0
