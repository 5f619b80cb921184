"""The configuration of the embedded nats-server. Pure."""

import json
from collections.abc import Mapping

from clawstead_cli.bus_accounts import bus_accounts
from clawstead_cli.settings import Settings

MAX_FILE_STORE_BYTES = 8 * 1024**3
"""Room for every stream's reservation. Stated, because the default is a share of the free disk at boot, so a
full disk would make the server refuse streams that it already holds."""
MAX_PAYLOAD_BYTES = 1024**2
"""The server's default, stated: what the services send is far smaller."""
MAX_CONNECTIONS = 256
"""One per service, one per command: far below it, and far below the descriptors that the server may have."""


def nats_conf(settings: Settings, keys: Mapping[str, str]) -> str:
    """Return the text of ``nats.conf``; ``keys`` are the users' public keys by name."""
    return (
        'server_name: "clawstead"\n'
        f'listen: "127.0.0.1:{settings.nats_port}"\n'
        f"max_payload: {MAX_PAYLOAD_BYTES}\n"
        f"max_connections: {MAX_CONNECTIONS}\n"
        "jetstream {\n"
        f"  store_dir: {json.dumps(str(settings.nats_dir), ensure_ascii=False)}\n"
        f"  max_file_store: {MAX_FILE_STORE_BYTES}\n"
        # The default acknowledges before fsync: a power loss would take acknowledged events with it.
        "  sync_interval: always\n"
        "}\n"
        f"{bus_accounts(keys)}"
    )
