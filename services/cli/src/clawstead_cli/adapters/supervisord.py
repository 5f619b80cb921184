"""supervisord, started by us and driven over its XML-RPC socket."""

import subprocess
import sys
import time
import xmlrpc.client
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from supervisor.states import ProcessStates, getProcessStateDescription  # type: ignore[import-untyped]
from supervisor.xmlrpc import Faults, SupervisorTransport  # type: ignore[import-untyped]

from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError
from clawstead_cli.settings import Settings

_POLL_SECONDS = 0.02
_UP_STATES = (ProcessStates.STARTING, ProcessStates.RUNNING)


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What supervisord knows of one process."""

    name: str
    group: str
    state: str
    """supervisord's own word, in lower case: running, starting, backoff, stopped, stopping, exited, fatal."""
    pid: int | None
    uptime_seconds: int
    description: str

    @property
    def up(self) -> bool:
        """Whether the process is there."""
        return self.state in {"starting", "running"}


class Supervisord:
    """The supervisor of one installation, whether it runs or not."""

    def __init__(self, settings: Settings) -> None:
        self._run_dir = settings.run_dir
        self._socket = settings.run_dir / "supervisor.sock"

    @property
    def config_file(self) -> Path:
        """Where its generated configuration is."""
        return self._run_dir / "supervisord.conf"

    @property
    def running(self) -> bool:
        """Whether it answers. A socket that a killed supervisor left behind does not."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """Return its process id, None when it does not answer."""
        try:
            return int(self._call("getPID"))
        except CommandError:
            return None

    def launch(self, environment: dict[str, str], deadline: Deadline) -> None:
        """Start it in a session of its own, so that neither Ctrl-C nor our end reaches it, and wait for its socket.

        Raises:
            CommandError: it did not come up.
        """
        output = self._run_dir / "supervisord.out"
        with output.open("wb") as stream:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.config_file)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        while not self.running:
            if process.poll() is not None or deadline.passed:
                said = output.read_text(errors="replace").strip()[-500:]
                raise CommandError(f"the supervisor did not start: {said or 'it said nothing'}")
            time.sleep(_POLL_SECONDS)

    def start(self, info: ProcessInfo) -> None:
        """Start one process without waiting for it; running already is success."""
        self._call("startProcess", f"{info.group}:{info.name}", False, tolerate=Faults.ALREADY_STARTED)

    def processes(self) -> list[ProcessInfo]:
        """Return every process, in the order of the configuration.

        Raises:
            CommandError: the supervisor does not answer.
        """
        return [
            ProcessInfo(
                name=row["name"],
                group=row["group"],
                state=getProcessStateDescription(row["state"]).lower(),
                pid=row["pid"] or None,
                uptime_seconds=max(0, row["now"] - row["start"]) if row["state"] in _UP_STATES else 0,
                description=row["description"],
            )
            for row in self._call("getAllProcessInfo")
        ]

    def shut_down(self) -> None:
        """Ask it to stop every process and end; returns at once."""
        self._call("shutdown", tolerate=Faults.SHUTDOWN_STATE)

    def _call(self, method: str, *arguments: Any, tolerate: int | None = None) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == tolerate:
                return None
            raise CommandError(f"the supervisor refused {method}: {fault.faultString}") from fault
        except (OSError, HTTPException, xmlrpc.client.ProtocolError) as error:
            raise CommandError(f"the supervisor does not answer: {error}") from error
        finally:
            transport.close()
