"""The configuration of the embedded nats-server. Pure."""

import json

from clawstead_cli.settings import Settings

MAX_FILE_STORE_BYTES = 8 * 1024**3
"""Room for every stream's reservation. Stated, because the default is a share of the free disk at boot, so a
full disk would make the server refuse streams that it already holds."""


def nats_conf(settings: Settings) -> str:
    """Return the text of ``nats.conf``."""
    return (
        'server_name: "clawstead"\n'
        f'listen: "127.0.0.1:{settings.nats_port}"\n'
        "jetstream {\n"
        f"  store_dir: {json.dumps(str(settings.nats_dir), ensure_ascii=False)}\n"
        f"  max_file_store: {MAX_FILE_STORE_BYTES}\n"
        # The default acknowledges before fsync: a power loss would take acknowledged events with it.
        "  sync_interval: always\n"
        "}\n"
    )
