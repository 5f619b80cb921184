"""``clawstead certs``: the edge's certificate, told, issued, renewed."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from clawstead_cli.certificate_text import certificate_lines, problems, time_left
from clawstead_cli.certificates import ask_for_certificate
from clawstead_cli.commands.options import AsJson, DataDir
from clawstead_cli.console import print_json, stderr, stdout
from clawstead_cli.errors import ExitCode
from clawstead_cli.settings import Settings
from clawstead_shared.control import CertificateReport, CertificateRequest

certs = typer.Typer(no_args_is_help=True, help="Look at the edge's certificate, issue it, renew it.")

Seconds = Annotated[float, typer.Option("--timeout", min=1, help="Give up after so many seconds.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Go through all of it with the authority's staging directory; change nothing.")
]
Force = Annotated[bool, typer.Option("--force", help="Also if it is not due. Authorities limit how often.")]

_ASKING = "proxy-sync is asked"
_ORDERING = "certbot proves that the domain is ours and gets a certificate; this may take some minutes"


@certs.command()
def status(as_json: AsJson = False, timeout: Seconds = 30, data_dir: DataDir = None) -> None:
    """Show the certificate that visitors get, when it ends, when it is looked at next, and the last failure.

    Exit code 0 when all is well, 1 when it is late, expired, not served, or the last attempt failed.
    """
    _run(CertificateRequest(), _ASKING, as_json=as_json, timeout=timeout, data_dir=data_dir)


@certs.command()
def issue(
    dry_run: DryRun = False,
    force: Force = False,
    as_json: AsJson = False,
    timeout: Seconds = 600,
    data_dir: DataDir = None,
) -> None:
    """Get the first certificate, or one that fits changed settings, and serve it.

    A good one that is not due is kept. What is served stays until the new one is there. Exit code 1 when none
    could be got: the reason and what to do are shown.
    """
    request = CertificateRequest(action="issue", dry_run=dry_run, force=force)
    _run(request, _ORDERING, as_json=as_json, timeout=timeout, data_dir=data_dir)


@certs.command()
def renew(
    dry_run: DryRun = False,
    force: Force = False,
    as_json: AsJson = False,
    timeout: Seconds = 600,
    data_dir: DataDir = None,
) -> None:
    """Renew the certificate if it is due, and serve the new one. proxy-sync does so by itself twice a day.

    Exit code 1 when it is due and could not be renewed: the reason and what to do are shown.
    """
    request = CertificateRequest(action="renew", dry_run=dry_run, force=force)
    _run(request, _ORDERING, as_json=as_json, timeout=timeout, data_dir=data_dir)


def _run(request: CertificateRequest, waiting: str, *, as_json: bool, timeout: float, data_dir: Path | None) -> None:
    settings = Settings.load(data_dir)
    with stderr.status(waiting):
        report = asyncio.run(ask_for_certificate(settings.bus, request, timeout=timeout))
    now = datetime.now(UTC)
    wrong = problems(report, now)
    if as_json:
        left = time_left(report, now)
        days = left.total_seconds() / 86400 if left else None
        print_json({**report.model_dump(mode="json"), "days_left": days, "good": not wrong, "problems": wrong})
    else:
        _print(request, report, now, wrong)
    if wrong:
        raise typer.Exit(ExitCode.FAILED)


def _print(request: CertificateRequest, report: CertificateReport, now: datetime, wrong: list[str]) -> None:
    if request.action != "status" and not report.failure:
        stdout.print(Text(_outcome(request, report), "green"))
    for line in certificate_lines(report, now):
        stdout.print(line)
    for problem in wrong:
        stderr.print(Text.assemble(("wrong: ", "bold red"), problem))


def _outcome(request: CertificateRequest, report: CertificateReport) -> str:
    if request.dry_run:
        return "The dry run was good; nothing was changed."
    return "A new certificate is here." if report.changed else "Nothing was to be done: the certificate is not due."
