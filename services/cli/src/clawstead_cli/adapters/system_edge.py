"""The edge in the machine's nginx, as the drift audit looks at it."""

from clawstead_cli.adapters.machine_nginx import RULE_FILE, SITE_FILE, MachineNginx, read
from clawstead_cli.doctor.facts import SystemEdge
from clawstead_cli.errors import CommandError
from clawstead_cli.settings import Settings


def system_edge_facts(settings: Settings) -> SystemEdge:
    """Return what of the edge is installed in this machine.

    Raises:
        CommandError: it cannot be looked at.
    """
    try:
        return SystemEdge(
            site=SITE_FILE.exists(),
            rule=read(RULE_FILE),
            runner_uid=(settings.data_dir / "proxy-sync").stat().st_uid,
            nginx_runs=MachineNginx("nginx").pid is not None,
        )
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be looked at: {error.strerror}", hint="run it as root") from error
