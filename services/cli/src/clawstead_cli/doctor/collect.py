"""Collecting the facts: every part at once, each with a deadline; one that is down is told, not waited for."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from clawstead_cli.adapters.bus_facts import bus_facts
from clawstead_cli.adapters.docker_engine import DockerEngine
from clawstead_cli.adapters.edge import Edge, Served
from clawstead_cli.adapters.installation_files import certificate_file, disk, installation_files
from clawstead_cli.adapters.metrics import metrics
from clawstead_cli.adapters.readyz import probe
from clawstead_cli.adapters.system_edge import system_edge_facts
from clawstead_cli.certificates import ask_for_certificate
from clawstead_cli.deadline import Deadline
from clawstead_cli.doctor.container_checks import INSTALLATION_LABEL
from clawstead_cli.doctor.facts import Bus, Disk, Engine, Facts, Site
from clawstead_cli.errors import CommandError
from clawstead_cli.overview import Part, outbox_of
from clawstead_cli.programs import Service
from clawstead_cli.run_record import RunRecord
from clawstead_cli.settings import Settings
from clawstead_shared.control import CertificateReport, CertificateRequest

T = TypeVar("T")


class Collector:
    """One installation, looked at from this machine."""

    def __init__(self, settings: Settings, *, seconds: float) -> None:
        self._settings = settings
        self._record = RunRecord.load(settings)
        self._seconds = seconds
        self._local = self._record.certificates == "local"

    def collect(self) -> Facts:
        """Return everything that can be seen within the deadline."""
        deadline = Deadline.after(self._seconds)
        settings = self._settings
        engine = _Look(self._engine)
        bus = _Look(lambda: self._bus(deadline))
        files = _Look(lambda: installation_files(settings, self._record.dns_credentials_file))
        certificate = _Look(lambda: certificate_file(settings)) if self._local else None
        report = _Look(lambda: self._report(deadline))
        served = _Look(self._served)
        proxy = self._record.probe_host, self._record.admin_ports[Service.PROXY_SYNC]
        edge_waits = _Look(lambda: probe(*proxy).waiting)
        system_edge = _Look(lambda: system_edge_facts(settings)) if self._record.edge_mode == "system" else None
        disks = _Look(lambda: [disk("the data", settings.data_dir)])
        api = self._record.probe_host, self._record.admin_ports[Service.API]
        outbox = _Look(lambda: outbox_of(metrics(*api)))
        found_engine = engine.result(deadline)
        return Facts(
            now=datetime.now(UTC),
            site=Site(settings.installation_id, settings.instances_source, settings.gateway_host),
            engine=found_engine,
            bus=bus.result(deadline),
            files=files.result(deadline),
            certificate=certificate.result(deadline) if certificate else Part(),
            report=report.result(deadline),
            certbot_missing=not self._local and settings.certbot is None,
            served=served.result(deadline),
            edge_waits=edge_waits.result(deadline),
            system_edge=system_edge.result(deadline) if system_edge else Part(),
            disks=_with_engine(disks.result(deadline), found_engine.value),
            outbox=outbox.result(deadline),
        )

    def _engine(self) -> Engine:
        engine = DockerEngine()
        if not engine.local:
            raise CommandError(f"the engine is elsewhere ({engine.host})", hint="run it where the engine is")
        info = engine.info()
        return Engine(
            cpus=float(info["NCPU"]),
            root=str(info["DockerRootDir"]),
            time=datetime.fromisoformat(str(info["SystemTime"])),
            containers=engine.labelled(INSTALLATION_LABEL, self._settings.installation_id),
        )

    def _bus(self, deadline: Deadline) -> Bus:
        async def limited() -> Bus:
            return await asyncio.wait_for(bus_facts(self._settings.bus, Deadline.after(1)), deadline.remaining)

        return asyncio.run(limited())

    def _report(self, deadline: Deadline) -> CertificateReport:
        return asyncio.run(
            ask_for_certificate(
                self._settings.bus, CertificateRequest(), timeout=max(deadline.remaining, 0.1), connecting=1
            )
        )

    def _served(self) -> Served:
        return Edge(self._record.authorities).certificate(self._record.url)


class _Look(Generic[T]):
    """One part, looked at in a thread that nobody has to wait for."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._part: Part[T] = Part(unread="it did not answer in time")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self, deadline: Deadline) -> Part[T]:
        """Return what was seen until the deadline."""
        self._thread.join(deadline.remaining)
        return self._part

    def _run(self) -> None:
        try:
            self._part = Part.of(self._read)
        except TimeoutError:
            return
        except Exception as error:  # a part that is broken in a new way must not keep the others from being told
            self._part = Part(unread=f"{type(error).__name__}: {error}")


def _with_engine(disks: Part[list[Disk]], engine: Engine | None) -> Part[list[Disk]]:
    if disks.value is None or engine is None:
        return disks
    # Seen from another machine or container the engine's root is not there; then it is not ours to judge.
    root = Path(engine.root)
    return Part([*disks.value, disk("the engine's root", root)]) if root.exists() else disks
