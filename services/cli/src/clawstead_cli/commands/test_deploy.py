"""``clawstead test-deploy``: does a new instance work, and how long does each phase take?"""

from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.table import Table

from clawstead_cli.adapters.edge import Edge
from clawstead_cli.api_access import api_of
from clawstead_cli.arrival import NotArrivedError
from clawstead_cli.commands.checks import checks_document, print_checks
from clawstead_cli.commands.following import START_SECONDS
from clawstead_cli.commands.options import AsJson, DataDir, Timeout, Token, Url
from clawstead_cli.console import print_json, print_table, progress, report, stderr, stdout
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError, ExitCode
from clawstead_cli.instances import Instances
from clawstead_cli.interrupts import ignore_interrupts, interruptible
from clawstead_cli.run_record import RunRecord
from clawstead_cli.settings import Settings
from clawstead_cli.trial import Trial

_CLEAN_UP_SECONDS = 480.0


@dataclass
class _End:
    """How a trial ended."""

    error: CommandError | None = None
    interrupted: bool = False
    cleaned_up: bool = False


def deploy_on_trial(
    *,
    plan: Annotated[str, typer.Option(help="Plan of the test instance.")],
    image: Annotated[str | None, typer.Option(help="Container image.", show_default="the platform's")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the instance there.")] = False,
    timeout: Timeout = START_SECONDS,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create an instance, time each phase, check it, delete it again. Needs the API and the edge.

    The times are those of the platform's own events; only the first answer through the edge is measured here.
    The instance is deleted whatever happens, after Ctrl-C too, unless --keep is given.

    Exit code 0 when everything worked and is gone again, 1 when something failed, 130 when interrupted.
    """
    edge = Edge(RunRecord.load(Settings.load(data_dir)).authorities)
    known = Instances(api_of(data_dir, url, token))
    end = _End()
    with interruptible(), progress() as shown:
        trial = Trial(known, edge, shown)
        try:
            trial.run({"plan": plan, **({"image": image} if image else {})}, Deadline.after(timeout))
        except CommandError as error:
            end.error = error
        except KeyboardInterrupt:
            end.interrupted = True
            stderr.print("interrupted; " + ("the instance stays" if keep else "cleaning up first"))
        finally:
            if not keep:
                _clean_up(trial, end)
    _print(trial, end, keep=keep, as_json=as_json)
    if end.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if end.error:
        if end.cleaned_up and isinstance(end.error, NotArrivedError):
            end.error.hint = "with --keep the instance stays, to be looked at"
        raise end.error
    if not (trial.checks and all(check.good for check in trial.checks)):
        raise typer.Exit(ExitCode.FAILED)


def _clean_up(trial: Trial, end: _End) -> None:
    ignore_interrupts()
    try:
        trial.clean_up(Deadline.after(_CLEAN_UP_SECONDS))
        end.cleaned_up = True
    except CommandError as error:
        left = CommandError(f"{trial.name} could not be cleaned up: {error}", hint="`clawstead instances delete`")
        if end.error:
            report(left)
        else:
            end.error = left


def _print(trial: Trial, end: _End, *, keep: bool, as_json: bool) -> None:
    succeeded = not end.error and not end.interrupted and all(check.good for check in trial.checks)
    total = trial.laps[-1].total_seconds if trial.laps else 0.0
    if as_json:
        print_json(
            {
                "succeeded": succeeded,
                "instance": trial.instance.id if trial.instance else None,
                "name": trial.name,
                "phases": [asdict(lap) for lap in trial.laps],
                "total_seconds": total,
                **checks_document(trial.checks),
                "error": str(end.error) if end.error else None,
                "kept": keep,
                "gone": end.cleaned_up,
            }
        )
        return
    table = Table("phase", "after", "since the order", box=None, header_style="bold")
    for lap in trial.laps:
        table.add_row(lap.phase, f"{lap.seconds:.3f} s", f"{lap.total_seconds:.3f} s")
    if trial.laps:
        print_table(table)
        print_checks(trial.checks)
    if succeeded:
        stdout.print(f"\n[green]works[/], in {total:.1f} s" + (f"; it stays: {trial.name}" if keep else ""))
