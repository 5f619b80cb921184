"""``clawstead edge``: the edge as a site in the machine's own nginx."""

from dataclasses import asdict
from typing import Annotated

import typer

from clawstead_cli import edge_install
from clawstead_cli.adapters.machine_nginx import RULE_FILE, SITE_FILE, MachineNginx, served_revision
from clawstead_cli.adapters.proxy_sync_program import ProxySyncProgram
from clawstead_cli.commands.confirmation import Yes, confirm
from clawstead_cli.commands.options import AsJson, DataDir
from clawstead_cli.console import print_json, stdout
from clawstead_cli.errors import ExitCode
from clawstead_cli.settings import Settings

edge = typer.Typer(no_args_is_help=True, help="Put the edge into the machine's own nginx (CLAWSTEAD_EDGE_MODE=system).")

User = Annotated[
    str | None,
    typer.Option("--user", help="Who proxy-sync runs as.", show_default="who owns its data"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")]


@edge.command()
def install(
    *, user: User = None, dry_run: DryRun = False, yes: Yes = False, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Write the site of the edge into nginx's conf.d, and the one rule of sudo that proxy-sync needs.

    Needs root and the settings that proxy-sync has. Everything is checked by sudo and nginx, loaded, and put back if
    it is refused or not served within seconds. Installed already, it changes nothing.
    """
    settings = Settings.load(data_dir)
    program = ProxySyncProgram(settings)
    site, who = program.site(), edge_install.user_named(user, settings.data_dir)
    files, nginx = edge_install.wanted(site, who), MachineNginx(site.reload[0])
    if dry_run:
        _show(files, as_json=as_json)
        return
    edge_install.require_root()
    edge_install.check_room(nginx, site)
    changed = files != edge_install.present()
    loaded = nginx.pid is None or served_revision(site.status_port) == site.revision
    if changed:
        confirm(f"Put the edge of {settings.domain} into this machine's nginx, reloaded by {who.pw_name}?", yes=yes)
    if changed or not loaded:
        program.prepare(who)
        edge_install.exchange(nginx, files, site)
    running = nginx.pid is not None
    if as_json:
        print_json(
            {"changed": changed, "nginx_runs": running, "files": [str(it) for it, text in files.items() if text]}
        )
        return
    done = changed or not loaded
    stdout.print("The site is installed." if done else "Nothing to do: the site is installed already.")
    if not running:
        stdout.print("nginx does not run: `systemctl start nginx` starts it.")


@edge.command()
def uninstall(*, yes: Yes = False, as_json: AsJson = False) -> None:
    """Take the site of the edge and the rule of sudo away again; the data stays.

    Do it before the data directory is removed: without the files in it nginx does not start, for no site.
    """
    edge_install.require_root()
    present = edge_install.present()
    changed = any(text is not None for text in present.values())
    if changed:
        confirm("Take the edge out of this machine's nginx? Every instance becomes unreachable.", yes=yes)
        edge_install.exchange(MachineNginx("nginx"), dict.fromkeys(present))
    if as_json:
        print_json({"changed": changed})
        return
    stdout.print("The site is taken away." if changed else "Nothing to do: no site is installed.")


@edge.command()
def status(*, user: User = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Say whether the installed site and rule are what the settings ask for, and whether nginx has loaded them.

    Exit code 1 when something is missing or stale. Needs root, for only root may read the rule.
    """
    settings = Settings.load(data_dir)
    edge_install.require_root()
    site, who = ProxySyncProgram(settings).site(), edge_install.user_named(user, settings.data_dir)
    found = edge_install.status(MachineNginx(site.reload[0]), site, who)
    if as_json:
        print_json({"good": found.good, **asdict(found)})
    else:
        stdout.print(f"site   {found.site} ({SITE_FILE})")
        stdout.print(f"rule   {found.rule} ({RULE_FILE}, for {who.pw_name})")
        stdout.print(f"nginx  {f'runs, pid {found.nginx_pid}' if found.nginx_pid else 'does not run'}")
        stdout.print(f"loaded {found.served or 'no site of ours'}, the settings ask for {found.revision}")
        if not found.good:
            stdout.print("`clawstead edge install` puts it right.")
    if not found.good:
        raise typer.Exit(ExitCode.FAILED)


def _show(files: edge_install.Files, *, as_json: bool) -> None:
    if as_json:
        print_json({"files": {str(path): text for path, text in files.items()}})
        return
    for path, text in files.items():
        stdout.print(f"# {path}" if text else f"# {path} would not be there", markup=False)
        stdout.print(text or "", markup=False, highlight=False, soft_wrap=True)
