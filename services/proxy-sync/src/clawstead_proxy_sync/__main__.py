"""The console script ``clawstead-proxy-sync``: serve, or print the site for the machine's nginx."""

import argparse
import sys
from typing import NoReturn

from pydantic import ValidationError

from clawstead_proxy_sync import app, site_command
from clawstead_proxy_sync.errors import EdgeUnavailableError
from clawstead_proxy_sync.facts import SERVICE
from clawstead_proxy_sync.settings import Settings
from clawstead_shared.service import Service, serve
from clawstead_shared.settings import complaint

_UNUSABLE = 2


def main() -> None:
    """Run proxy-sync until it is told to stop, or one command; exit with 2 and a line if the settings are unusable."""
    arguments = _parser().parse_args()
    try:
        settings = Settings()
    except ValidationError as error:
        _fail(complaint(error))
    if arguments.command is None:
        _serve(settings)
        return
    try:
        (site_command.prepare if arguments.prepare else site_command.print_site)(settings)
    except (EdgeUnavailableError, OSError) as error:
        _fail(str(error))


def _serve(settings: Settings) -> None:
    async def body(service: Service) -> None:
        await app.run(service, settings)

    serve(SERVICE, settings, port=settings.proxy_sync_port, body=body)


def _fail(message: str) -> NoReturn:
    print(f"clawstead-proxy-sync: {message}", file=sys.stderr)
    sys.exit(_UNUSABLE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clawstead-proxy-sync", description="Run the edge.")
    commands = parser.add_subparsers(dest="command")
    site = commands.add_parser("site", help="print the site for the machine's nginx (CLAWSTEAD_EDGE_MODE=system)")
    site.add_argument("--prepare", action="store_true", help="make what the site points at, and print nothing")
    return parser


if __name__ == "__main__":
    main()
