"""Entry of the keeper."""

from clawstead_keeper.app import run
from clawstead_keeper.settings import KeeperSettings
from clawstead_shared.service import serve


def main() -> None:
    """Run the keeper until it is told to stop."""
    settings = KeeperSettings()
    serve("keeper", settings, port=settings.keeper_port, body=lambda service: run(service, settings))


if __name__ == "__main__":
    main()
