"""Entry point of proxy-sync."""

from clawstead_proxy_sync import app
from clawstead_proxy_sync.facts import SERVICE
from clawstead_proxy_sync.settings import Settings
from clawstead_shared.service import Service, serve


def main() -> None:
    """Run proxy-sync until it is told to stop."""
    settings = Settings()

    async def body(service: Service) -> None:
        await app.run(service, settings)

    serve(SERVICE, settings, port=settings.proxy_sync_port, body=body)


if __name__ == "__main__":
    main()
