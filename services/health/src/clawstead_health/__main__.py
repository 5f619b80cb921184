"""Entry of the health monitor."""

from clawstead_health.app import run
from clawstead_health.settings import HealthSettings
from clawstead_shared.service import serve


def main() -> None:
    """Run the health monitor until it is told to stop."""
    settings = HealthSettings()
    serve("health", settings, port=settings.health_port, body=lambda service: run(service, settings))


if __name__ == "__main__":
    main()
