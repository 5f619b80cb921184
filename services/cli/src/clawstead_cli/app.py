"""The command line, put together: every verb, and what ``--help`` says."""

from importlib.metadata import version as distribution_version

import typer

from clawstead_cli.commands.audit import audit
from clawstead_cli.commands.certs import certs
from clawstead_cli.commands.check_health import check_health
from clawstead_cli.commands.dlq import dlq
from clawstead_cli.commands.doctor import doctor
from clawstead_cli.commands.down import down
from clawstead_cli.commands.edge import edge
from clawstead_cli.commands.events import events
from clawstead_cli.commands.instances import instances
from clawstead_cli.commands.logs import logs
from clawstead_cli.commands.rebuild import rebuild, resync
from clawstead_cli.commands.restart import restart
from clawstead_cli.commands.state import state
from clawstead_cli.commands.status import status
from clawstead_cli.commands.streams import streams
from clawstead_cli.commands.test_deploy import deploy_on_trial
from clawstead_cli.commands.token import token
from clawstead_cli.commands.up import up
from clawstead_cli.commands.update import update
from clawstead_cli.commands.validate import validate
from clawstead_cli.console import stdout

_EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage or setting, 3 the machine lacks something (root, Docker, an image, "
    "a free port), 4 something that should answer does not, 130 interrupted."
)
_EPILOG = (
    "Settings are variables with the prefix CLAWSTEAD_, among them DATA_DIR, DOMAIN, HTTPS_PORT, HTTP_PORT, "
    "NATS_PORT, NATS_URL, IMAGE, ADMIN_TOKEN; every service's port has one (API_PORT, HEALTH_PORT ...).\n\n"
    f"{_EXIT_CODES}"
)

app = typer.Typer(
    name="clawstead",
    help="Run and look after Clawstead, which hosts OpenClaw gateways.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(up)
app.command()(down)
app.command()(status)
app.command()(logs)
app.command()(token)
app.command()(update)
app.command()(doctor)
app.command()(check_health)
app.command()(restart)
app.command()(validate)
app.command(name="test-deploy")(deploy_on_trial)
app.command()(rebuild)
app.command()(resync)
app.add_typer(instances, name="instances")
app.add_typer(edge, name="edge")
app.add_typer(audit, name="audit")
app.add_typer(certs, name="certs")
app.add_typer(streams, name="streams")
app.add_typer(events, name="events")
app.add_typer(state, name="state")
app.add_typer(dlq, name="dlq")


@app.command()
def version() -> None:
    """Print the version."""
    stdout.print(distribution_version("clawstead-cli"))


def _tell_exit_codes(group: typer.Typer) -> None:
    for command in group.registered_commands:
        command.epilog = command.epilog or _EXIT_CODES
    for inner in group.registered_groups:
        if inner.typer_instance:
            _tell_exit_codes(inner.typer_instance)


_tell_exit_codes(app)
