"""``clawstead down``: stop everything."""

from clawstead_cli.commands.options import DataDir, Timeout
from clawstead_cli.console import progress, stderr, stdout
from clawstead_cli.deadline import Deadline
from clawstead_cli.platform import Platform
from clawstead_cli.settings import Settings

_LOCK_SECONDS = 120.0


def down(timeout: Timeout = _LOCK_SECONDS, data_dir: DataDir = None) -> None:
    """Stop the platform. The data stays, and so do the instances: their containers keep running.

    Stopping what does not run is success.
    """
    platform = Platform(Settings.load(data_dir))
    with progress() as shown, platform.exclusive(Deadline.after(timeout)):
        was_running = platform.running
        killed = platform.stop(shown)
    if killed:
        stderr.print(f"[yellow]did not stop by themselves and were killed: {', '.join(killed)}[/]")
    stdout.print("Clawstead is stopped." if was_running else "Clawstead was not running.")
