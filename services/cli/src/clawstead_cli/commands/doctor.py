"""``clawstead doctor``: is everything as it should be?"""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from clawstead_cli.commands.options import AsJson, DataDir
from clawstead_cli.console import print_json, stderr, stdout
from clawstead_cli.doctor.collect import Collector
from clawstead_cli.doctor.facts import Finding, Severity
from clawstead_cli.doctor.judge import judge
from clawstead_cli.errors import ExitCode, MissingError
from clawstead_cli.instance_tables import plain
from clawstead_cli.settings import Settings

_STYLES = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def doctor(
    *,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds for looking at everything.")] = 20.0,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Compare what is with what should be; changes nothing.

    Containers (labels, hardening, mounts, limits, ports, networks), files (modes, owners), certificate, disks, clock,
    the bus (declarations, lag, dead letters, notices of a day), containers against desired states, the outbox. Needs
    root, and Docker, NATS and the edge on this machine; what is away is a finding, and the rest is looked at.

    Exit code 0 when nothing but notes was found, 1 when something is wrong or could not be looked at.
    """
    settings = Settings.load(data_dir)
    if not settings.data_dir.exists():
        raise MissingError(f"there is no installation at {settings.data_dir}", hint="--data-dir names it")
    with stderr.status("looking at everything"):
        findings = judge(Collector(settings, seconds=timeout).collect())
    bad = [finding for finding in findings if finding.severity is not Severity.NOTE]
    if as_json:
        print_json({"good": not bad, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _print(finding)
        stdout.print(_summary(findings))
    if bad:
        raise typer.Exit(ExitCode.FAILED)


def _print(finding: Finding) -> None:
    style = _STYLES[finding.severity]
    stdout.print(
        Text.assemble((f"{finding.severity:<8} ", style), (f"{finding.check}: ", "bold"), plain(finding.about))
    )
    for name, said in (("", finding.what), ("why: ", finding.why), ("do:  ", finding.todo)):
        stdout.print(Text.assemble(" " * 9, (name, "cyan"), plain(said)))


def _summary(findings: list[Finding]) -> Text:
    if not findings:
        return Text("Everything is as it should be.", "green")
    counts = ((severity, sum(finding.severity is severity for finding in findings)) for severity in Severity)
    return Text("\n" + ", ".join(f"{count} {severity}" for severity, count in counts if count))
