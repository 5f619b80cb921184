"""Which API a command talks to, and as whom."""

from pathlib import Path

from clawstead_cli.adapters.api_http import ApiHttp
from clawstead_cli.errors import UsageError
from clawstead_cli.programs import Service
from clawstead_cli.run_record import RunRecord
from clawstead_cli.settings import Settings


def api_of(data_dir: Path | None, url: str | None, token: str | None) -> ApiHttp:
    """Return the API at ``url``, or that of the platform on this machine.

    Raises:
        UsageError: there is no token, or a setting has a value that cannot work.
    """
    if not token:
        raise UsageError("a token is needed", hint="set CLAWSTEAD_ADMIN_TOKEN; `clawstead token --new` makes one")
    record = RunRecord.load(Settings.load(data_dir))
    return ApiHttp(url or api_url(record), token, record.authorities)


def api_url(record: RunRecord) -> str:
    """Return the API's own port rather than the edge: an operator must get through when the edge is in trouble."""
    return f"http://{record.probe_host}:{record.admin_ports[Service.API]}"
