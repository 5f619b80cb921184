"""``clawstead update``: have instances run what their image names by now, or another image."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from clawstead_cli.api_access import api_of
from clawstead_cli.commands.options import AsJson, DataDir, OneInstance, Token, Url
from clawstead_cli.console import print_table, stderr, stdout
from clawstead_cli.errors import ExitCode
from clawstead_cli.instance import Instance
from clawstead_cli.instances import Instances, chosen, require_choice
from clawstead_cli.interrupts import interruptible
from clawstead_cli.rollout import Result, Rollout

All = Annotated[bool, typer.Option("--all", help="Update all instances: one first, then batches.")]
Image = Annotated[str | None, typer.Option(help="Image to run from now on; without it each keeps following its own.")]
Force = Annotated[bool, typer.Option("--force", help="Also try an image that was rolled back before.")]
Batch = Annotated[int, typer.Option(min=1, help="How many at once, after the first.")]
BatchTimeout = Annotated[float, typer.Option(min=1, help="Give up on a batch after so many seconds.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before updating all.")]


def update(
    instance: OneInstance = None,
    *,
    every: All = False,
    image: Image = None,
    force: Force = False,
    batch: Batch = 5,
    timeout: BatchTimeout = 900,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Update one instance, or all.

    Waits until each is confirmed: it runs the image and has stayed up for its probation. An instance that does
    not is taken back to what it ran before. With --all the first one goes alone, then the others in batches,
    stopped ones last; the first failure ends it, and nobody else is asked. Running it again is harmless: what
    is up to date stays up, untouched.

    Exit code 0 when all are updated, or will be at their next start; 1 when one failed, was rolled back or was
    not confirmed in time; 2 for a wrong option or token; 4 when the API does not answer; 130 when interrupted:
    what was ordered then goes on.
    """
    require_choice(instance, every=every)
    known = Instances(api_of(data_dir, url, token))
    instances = chosen(known, instance)
    if every and not yes and sys.stdin.isatty():
        typer.confirm(f"Update {len(instances)} instances?", abort=True, err=True)
    rollout = Rollout(_Fleet(known, image=image, force=force), _Lines(), timeout_seconds=timeout)
    interrupted = _interrupted(rollout, instances, batch)
    _print(rollout, as_json=as_json)
    if interrupted:
        stderr.print("interrupted; what was ordered goes on")
        raise typer.Exit(ExitCode.INTERRUPTED)
    if not rollout.succeeded:
        raise typer.Exit(ExitCode.FAILED)


def _interrupted(rollout: Rollout, instances: Sequence[Instance], batch: int) -> bool:
    with interruptible():
        try:
            rollout.run(instances, batch)
        except KeyboardInterrupt:
            return True
    return False


class _Fleet:
    """The instances of the token's owner."""

    def __init__(self, instances: Instances, *, image: str | None, force: bool) -> None:
        self._instances = instances
        self._body: dict[str, Any] = {"force": force, **({"image": image} if image else {})}

    def order(self, instance: Instance) -> Instance:
        """See ``rollout.Fleet.order``."""
        return self._instances.order(instance, "update", self._body)

    def look(self, instance: Instance) -> Instance:
        """See ``rollout.Fleet.look``."""
        return self._instances.look(instance.id)


class _Lines:
    """A line on standard error for everything that happens."""

    def stage(self, instances: Sequence[Instance], left: int) -> None:
        """See ``rollout.Watcher.stage``."""
        names = ", ".join(instance.name for instance in instances)
        stderr.print(f"updating {names}" + (f", {left} to go" if left else ""), markup=False)

    def moved(self, instance: Instance) -> None:
        """See ``rollout.Watcher.moved``."""
        stderr.print(f"  {instance.name}: {instance.now}", markup=False)

    def ended(self, result: Result) -> None:
        """See ``rollout.Watcher.ended``."""
        sign = Text("✓ ", "green") if result.outcome.good else Text("✗ ", "red")
        detail = f": {result.detail}" if result.detail else ""
        stderr.print(Text.assemble(sign, f"{result.instance.name} {result.outcome}{detail}"))


def _print(rollout: Rollout, *, as_json: bool) -> None:
    if as_json:
        rows = [_row(result) for result in rollout.results]
        stdout.print_json(data={"succeeded": rollout.succeeded, "instances": rows})
        return
    table = Table("instance", "name", "outcome", "image", "what happened", box=None, header_style="bold")
    for result in rollout.results:
        row = _row(result)
        style = "green" if result.outcome.good else "red"
        table.add_row(
            row["id"], Text(row["name"]), Text(row["outcome"], style), row["image"] or "", Text(row["detail"])
        )
    print_table(table)


def _row(result: Result) -> dict[str, Any]:
    running = result.instance.running_image
    return {
        "id": result.instance.id,
        "name": result.instance.name,
        "outcome": result.outcome.value,
        "detail": result.detail,
        "image": running.reference if running else None,
        "digest": running.digest if running else None,
    }
