"""An nginx together with its configuration: it is started and reloaded with what was tested, and that is proved."""

from dataclasses import dataclass

from clawstead_proxy_sync.adapters.config_file import ConfigFile
from clawstead_proxy_sync.adapters.layout import Layout
from clawstead_proxy_sync.adapters.nginx_command import NginxCommand
from clawstead_proxy_sync.adapters.proved_daemon import Daemon
from clawstead_proxy_sync.adapters.status import Serving


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of one nginx, and what is done to all of them at once."""

    layout: Layout
    command: NginxCommand
    daemon: Daemon
    config_file: ConfigFile

    async def start(self, generation: int) -> None:
        """Start nginx, and wait until it serves the configuration in use with this table.

        Raises:
            EdgeRefusedError: nginx refuses the configuration.
            EdgeUnavailableError: it cannot start, or does not serve that.
        """
        await self.config_file.store()
        await self.daemon.start(Serving(generation, self.config_file.revision))

    async def reload(self, generation: int) -> None:
        """Have nginx read its files again, and wait until it serves the configuration in use with this table.

        Raises:
            EdgeRefusedError: nginx refuses the configuration.
            EdgeUnavailableError: it did not take them over in time, or does not run.
        """
        await self.config_file.store()
        await self.daemon.reload(Serving(generation, self.config_file.revision))
