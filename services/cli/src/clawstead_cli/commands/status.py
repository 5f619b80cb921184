"""``clawstead status``: what runs, whether it is ready, how far behind it is."""

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from clawstead_cli.api_access import api_of
from clawstead_cli.commands.options import AsJson, DataDir, Token
from clawstead_cli.console import print_json, print_table, stdout
from clawstead_cli.errors import ExitCode, UsageError
from clawstead_cli.instances import Instances
from clawstead_cli.overview import Lookout, Overview, Part
from clawstead_cli.overview_tables import overview_page
from clawstead_cli.settings import Settings


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on looking until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks of --watch.")] = 2.0,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show processes, instances by phase, the lag of each consumer, the outbox, the certificate, and the last notices.

    Instances are counted if CLAWSTEAD_ADMIN_TOKEN is set. What cannot be read says why: the rest is shown.

    Exit code 0 when all processes are ready, 1 when something is not, 4 when the platform is not running.
    """
    if watch and as_json:
        raise UsageError("--watch is for people", hint="run `clawstead status --json` again and again")
    lookout = Lookout(Settings.load(data_dir), lambda: Instances(api_of(data_dir, None, token)))
    found = lookout.look()
    if watch:
        _watch(lookout, found, interval)
        return
    if as_json:
        print_json(_document(found))
    elif found.processes.running:
        print_table(overview_page(found))
    else:
        stdout.print("Clawstead is not running. `clawstead up` starts it.")
    if not found.processes.ready:
        raise typer.Exit(ExitCode.FAILED if found.processes.running else ExitCode.UNREACHABLE)


def _watch(lookout: Lookout, found: Overview, interval: float) -> None:
    try:
        with Live(_titled(found), console=stdout, screen=stdout.is_terminal, auto_refresh=False) as live:
            while True:
                live.update(_titled(found), refresh=True)
                time.sleep(interval)
                found = lookout.look()
    except KeyboardInterrupt:
        return


def _titled(found: Overview) -> Group:
    state = "ready" if found.processes.ready else "not ready" if found.processes.running else "not running"
    title = f"Clawstead, {time.strftime('%H:%M:%S')}: {state}   (Ctrl-C ends)\n"
    return Group(Text(title, "bold"), overview_page(found))


def _document(found: Overview) -> dict[str, Any]:
    bus, fleet, outbox, certificate = found.bus.value, found.fleet.value, found.outbox.value, found.certificate.value
    parts: dict[str, Part[Any]] = {
        "instances": found.fleet,
        "bus": found.bus,
        "outbox": found.outbox,
        "certificate": found.certificate,
    }
    return {
        **asdict(found.processes),
        "ready": found.processes.ready,
        "instances": asdict(fleet) if fleet else None,
        "outbox": asdict(outbox) if outbox else None,
        "certificate": asdict(certificate) if certificate else None,
        "streams": [asdict(stream) for stream in bus.streams] if bus else None,
        "consumers": [asdict(consumer) for consumer in bus.consumers] if bus else None,
        "dead_letters": bus.dead_letters if bus else None,
        "notices": [notice.model_dump(mode="json") for notice in bus.notices] if bus else None,
        "unread": {name: part.unread for name, part in parts.items() if part.unread},
    }
