"""Ordering something of an instance and, if asked to, waiting for it."""

from typing import Any

import typer

from clawstead_cli.arrival import NotArrivedError, Order, wait
from clawstead_cli.console import progress, stderr, stdout
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import ExitCode
from clawstead_cli.instance import Instance
from clawstead_cli.instance_tables import document
from clawstead_cli.instances import Instances
from clawstead_cli.interrupts import interruptible

START_SECONDS = 600.0
"""What starting may take before a command gives up: images are pulled, other starts come first."""


def follow(known: Instances, order: Order, timeout: float, *, as_json: bool) -> Instance | None:
    """Wait until an instance is what was ordered, and show how far it is; None when it is gone.

    Raises:
        CommandError: it is not what was ordered, or was not in time; for programs the instance is printed before.
        typer.Exit: the user broke it off.
    """
    try:
        with interruptible(), progress() as shown:
            return wait(
                known.look,
                order,
                Deadline.after(timeout),
                lambda seen: shown.waiting(f"{seen.name} to be {order.goal}: {seen.now}"),
            )
    except KeyboardInterrupt:
        stderr.print("interrupted; what was ordered goes on")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except NotArrivedError as error:
        if as_json and error.instance:
            stdout.print_json(data=document(error.instance))
        raise


def tell(instance: Instance, said: str, *, as_json: bool, **more: Any) -> None:
    """Print what became of one instance."""
    if as_json:
        stdout.print_json(data={**document(instance), **more})
    else:
        stdout.print(f"{instance.name} ({instance.id}) {said}", markup=False)
