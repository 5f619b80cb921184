"""The platform as one thing: start it in order, say how it is, stop it whole.

start   look at everything that could be missing -> supervisord -> nats -> streams -> database schema
        -> the services at once -> every /readyz
stop    supervisord ends the services, then nats; what outlives that is ended and reported
"""

import asyncio
import os
import resource
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from clawstead_cli import preflight
from clawstead_cli.adapters import process_table, readyz
from clawstead_cli.adapters.api_program import ApiProgram
from clawstead_cli.adapters.supervisord import ProcessInfo, Supervisord
from clawstead_cli.bus_seeds import ensure_seeds
from clawstead_cli.bus_store import adopt_store
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError
from clawstead_cli.log_files import last_lines
from clawstead_cli.nats_conf import nats_conf
from clawstead_cli.programs import NATS, environment, programs
from clawstead_cli.run_lock import run_lock
from clawstead_cli.run_record import RunRecord
from clawstead_cli.settings import Settings
from clawstead_cli.streams import apply_streams
from clawstead_cli.supervisord_conf import STOP_SECONDS, supervisord_conf

_POLL_SECONDS = 0.2
_QUICK_ENDS = 3
"""A service that ended this often while we waited for it will not become ready by waiting longer."""
_OPEN_FILES = 65536
_STOP_DEADLINE_SECONDS = 2 * STOP_SECONDS + 10
_STOP_AGAIN_SECONDS = 2
_LOG_LINES_SHOWN = 5


class Progress(Protocol):
    """Whoever watches a start or a stop."""

    def waiting(self, what: str) -> None:
        """Say what is waited for now; replaces what was said before."""

    def done(self, what: str) -> None:
        """Say that a step is done, for good."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One process, as the supervisor and the process itself see it."""

    name: str
    state: str
    pid: int | None
    uptime_seconds: int
    ready: bool
    waiting: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """The whole platform."""

    running: bool
    url: str
    services: list[ServiceStatus]

    @property
    def ready(self) -> bool:
        """Whether all of it does its job."""
        return self.running and all(service.ready for service in self.services)


class Platform:
    """One installation: a data directory and what runs on it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._supervisord = Supervisord(settings)
        self._api = ApiProgram(settings)
        self.first_token: str | None = None
        """The admin token, if this start made it; it cannot be shown again."""

    @property
    def running(self) -> bool:
        """Whether the supervisor answers."""
        return self._supervisord.running

    @property
    def record(self) -> RunRecord:
        """Where the running platform is found."""
        return RunRecord.load(self._settings)

    def status(self) -> Status:
        """Look at every process now."""
        record = self.record
        if not self.running:
            return Status(False, record.url, [])
        services = [self._service_status(info, record) for info in self._supervisord.processes()]
        return Status(True, record.url, services)

    @contextmanager
    def exclusive(self, deadline: Deadline) -> Iterator[None]:
        """Keep other starts and stops of this installation out.

        Raises:
            CommandError: another one was still at it when the deadline passed.
        """
        for directory in (self._settings.run_dir, self._settings.log_dir, self._settings.nats_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with run_lock(self._settings.run_dir, deadline):
            yield

    def start(self, progress: Progress, deadline: Deadline) -> None:
        """Start what does not run yet and wait until all of it is ready.

        A start that fails or is interrupted stops what it started; a platform that ran before is left running.

        Raises:
            CommandError: something is missing, failed, or was not ready in time; the message says which.
        """
        ran_before = self.running
        try:
            if not ran_before:
                self._end_leftovers(progress)
                preflight.require_all(self._settings)
                self._launch(deadline)
            self._start_programs(progress, deadline)
            self._wait_ready(progress, deadline)
        except BaseException:
            if not ran_before and self.running:
                self.stop(progress)
            raise

    def stop(self, progress: Progress) -> list[str]:
        """Stop everything, services first; return what did not stop by itself and was killed."""
        deadline = Deadline.after(_STOP_DEADLINE_SECONDS)
        if (supervisor := self._supervisord.pid()) is not None:
            pids = {info.pid: info.name for info in self._supervisord.processes() if info.pid}
            self._supervisord.shut_down()
            self._wait_stopped({**pids, supervisor: "supervisor"}, pids, progress, deadline)
        return self._end_leftovers(progress)

    def _wait_stopped(
        self, names: dict[int, str], pids: Collection[int], progress: Progress, deadline: Deadline
    ) -> None:
        again = Deadline.after(_STOP_AGAIN_SECONDS)
        asked_again = False
        while not deadline.passed:
            left = process_table.wait_gone(names, Deadline.after(_POLL_SECONDS))
            if not left:
                return
            progress.waiting(f"stopping {', '.join(sorted(names[process.pid] for process in left))}")
            if again.passed and not asked_again:
                # supervisord asks once, and a process between its fork and its exec does not hear that.
                process_table.ask_to_end(process for process in left if process.pid in pids)
                asked_again = True

    def _end_leftovers(self, progress: Progress) -> list[str]:
        found = {process: process.name() for process in process_table.leftovers(self._settings)}
        if not found:
            return []
        progress.waiting(f"ending what an earlier run left behind: {', '.join(found.values())}")
        if stuck := process_table.end(found, STOP_SECONDS):
            names = ", ".join(f"{found[process]} (pid {process.pid})" for process in stuck)
            raise CommandError(f"processes of this installation cannot be ended: {names}")
        return [f"{name} (pid {process.pid})" for process, name in found.items()]

    def _launch(self, deadline: Deadline) -> None:
        settings = self._settings
        if settings.embedded_nats:
            keys = ensure_seeds(settings.seeds_dir)
            adopt_store(settings.nats_dir)
            (settings.nats_dir / "nats.conf").write_text(nats_conf(settings, keys))
        open_files = min(_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        text = supervisord_conf(settings, programs(settings), open_files=open_files)
        self._supervisord.config_file.write_text(text)
        RunRecord.of(settings).save(settings)
        self._supervisord.launch(environment(settings, os.environ), deadline)

    def _start_programs(self, progress: Progress, deadline: Deadline) -> None:
        infos = self._supervisord.processes()
        for info in infos:
            if info.name == NATS:
                self._supervisord.start(info)
        progress.waiting("nats")
        asyncio.run(apply_streams(self._settings.bus, deadline))
        progress.done("nats is up, streams are declared")
        progress.waiting("the database")
        self._api.migrate()
        # Before the API starts, which would make the token too, but could only tell its log.
        self.first_token = self._api.first_token()
        progress.done("the database is ready")
        for info in infos:
            if info.name != NATS:
                self._supervisord.start(info)

    def _wait_ready(self, progress: Progress, deadline: Deadline) -> None:
        seen: dict[str, set[int]] = defaultdict(set)
        ready: set[str] = set()
        while True:
            services = self.status().services
            for service in services:
                if service.ready and service.name not in ready and service.name != NATS:
                    ready.add(service.name)
                    progress.done(f"{service.name} is ready")
            waiting = [service for service in services if not service.ready]
            if not waiting:
                return
            progress.waiting(_sentence(waiting, brief=True))
            for service in waiting:
                if service.pid:
                    seen[service.name].add(service.pid)
                if len(seen[service.name]) > _QUICK_ENDS:
                    raise CommandError(f"{service.name} keeps ending{self._said(service.name)}")
            if deadline.passed:
                said = "".join(self._said(service.name) for service in waiting)
                raise CommandError(f"not ready in time: {_sentence(waiting)}{said}")
            time.sleep(_POLL_SECONDS)

    def _said(self, name: str) -> str:
        path = self._settings.log_dir / f"{name}.log"
        lines = "".join(f"\n    {line}" for line in last_lines(path, _LOG_LINES_SHOWN))
        return f"\n  last of {path}:{lines}" if lines else ""

    def _service_status(self, info: ProcessInfo, record: RunRecord) -> ServiceStatus:
        answer = readyz.Readiness(info.up)
        if info.up and info.name in record.admin_ports:
            answer = readyz.probe(record.probe_host, record.admin_ports[info.name])
        waiting = answer.waiting if info.up else {"process": info.description or info.state}
        return ServiceStatus(info.name, info.state, info.pid, info.uptime_seconds, answer.ready, waiting)


def _sentence(waiting: list[ServiceStatus], *, brief: bool = False) -> str:
    return ", ".join(_clause(service, brief=brief) for service in waiting)


def _clause(service: ServiceStatus, *, brief: bool) -> str:
    # Not answering is what every service does at first; the display has room for what is worth reading.
    why = [f"{name}: {reason}" for name, reason in service.waiting.items() if not (brief and reason == readyz.SILENT)]
    return f"{service.name} ({', '.join(why)})" if why else service.name
