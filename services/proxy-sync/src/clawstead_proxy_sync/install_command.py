"""What an operator types to have the site installed that these settings ask for."""

import os
import pwd
import shlex

from clawstead_proxy_sync.settings import Settings

_OF_NO_CONCERN = ("nats_", "log_", "keep_edge", "edge_check_", "edge_resync_", "edge_reload_", "certificate", "acme_")
_SECRET = ("token", "credentials", "seed", "secret")


def install_command(settings: Settings) -> str:
    """Return the whole command, with the settings that sudo would take away, and no secret."""
    told = [
        f"CLAWSTEAD_{name.upper()}={os.environ[f'CLAWSTEAD_{name.upper()}']}"
        for name in sorted(settings.model_fields_set - {"data_dir"})
        if not name.startswith(_OF_NO_CONCERN)
        and not any(word in name for word in _SECRET)
        and f"CLAWSTEAD_{name.upper()}" in os.environ
    ]
    words = ["sudo", "env", f"CLAWSTEAD_DATA_DIR={settings.data_dir.resolve()}", *told]
    return shlex.join([*words, "clawstead", "edge", "install", "--user", user_name()])


def user_name() -> str:
    """Return who this process is, by name if it has one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
