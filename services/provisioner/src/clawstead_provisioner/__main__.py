"""Entry point: ``clawstead-provisioner``."""

from functools import partial

from clawstead_provisioner.app import run
from clawstead_provisioner.settings import ProvisionerSettings
from clawstead_shared.service import serve


def main() -> None:
    """Run the provisioner until it is told to stop."""
    settings = ProvisionerSettings()
    serve("provisioner", settings, port=settings.provisioner_port, body=partial(run, settings=settings))


if __name__ == "__main__":
    main()
