"""The configuration of supervisord. Pure; see docs/adr/0003 for the choice of supervisor.

Two groups, because supervisord stops groups one after the other, last first, and the members of a group at
once: the services drain together while NATS still runs, then NATS stops.
"""

import io
import shlex
from configparser import RawConfigParser

from clawstead_cli.programs import NATS, SEED_VARIABLE, Program
from clawstead_cli.settings import Settings

SERVICES_GROUP = "services"
STOP_SECONDS = 40
"""Above the services' own grace (10 s to drain, 10 s to end tasks, 5 s for HTTP), then SIGKILL."""
STABLE_SECONDS = 3
"""A process that ends sooner is restarted with growing waits, one that lived longer at once."""
NEVER_GIVE_UP = 1_000_000
"""supervisord turns a program FATAL, for good, after ``startretries`` quick ends: an outage of what the service
needs would outlive any small number. Its waits grow by one second per try, so after an outage of T seconds
the next try is at most about sqrt(2 T) seconds away: 85 s after an hour."""
LOG_BYTES = 10 * 1024**2
LOG_BACKUPS = 3


def supervisord_conf(settings: Settings, programs: list[Program], *, open_files: int) -> str:
    """Return the text of ``supervisord.conf``; ``open_files`` is the descriptor limit that the programs get."""
    config = RawConfigParser(interpolation=None)
    socket = settings.run_dir / "supervisor.sock"
    config["unix_http_server"] = {"file": _escaped(socket), "chmod": "0600"}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    config["supervisord"] = {
        "nodaemon": "true",
        "silent": "true",
        "identifier": "clawstead",
        "logfile": _escaped(settings.log_dir / "supervisord.log"),
        "logfile_maxbytes": str(LOG_BYTES),
        "logfile_backups": str(LOG_BACKUPS),
        "pidfile": _escaped(settings.run_dir / "supervisord.pid"),
        "minfds": str(open_files),
    }
    for program in programs:
        config[f"program:{program.name}"] = _section(settings, program)
    services = [program.name for program in programs if program.name != NATS]
    config[f"group:{SERVICES_GROUP}"] = {"programs": ",".join(services), "priority": "20"}
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def _section(settings: Settings, program: Program) -> dict[str, str]:
    section = {
        "command": _escaped(shlex.join(program.command)),
        "directory": _escaped(settings.data_dir),
        "priority": "10",
        "autostart": "false",  # `up` starts in order
        "autorestart": "true",
        "startsecs": str(STABLE_SECONDS),
        "startretries": str(NEVER_GIVE_UP),
        "stopsignal": "TERM",
        "stopwaitsecs": str(STOP_SECONDS),
        # Only the process itself is told to stop, so that it ends its own children (nginx) in its own order;
        # but when it had to be killed, so are they.
        "stopasgroup": "false",
        "killasgroup": "true",
        "stdout_logfile": _escaped(settings.log_dir / f"{program.name}.log"),
        "stdout_logfile_maxbytes": str(LOG_BYTES),
        "stdout_logfile_backups": str(LOG_BACKUPS),
        "redirect_stderr": "true",
    }
    variables = dict.fromkeys(program.hidden, "")
    if program.seed_file:
        variables[SEED_VARIABLE] = str(program.seed_file)
    if variables:
        section["environment"] = ",".join(f'{name}="{_escaped(value)}"' for name, value in variables.items())
    return section


def _escaped(value: object) -> str:
    return str(value).replace("%", "%%")
