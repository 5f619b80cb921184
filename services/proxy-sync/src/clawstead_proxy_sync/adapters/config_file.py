"""The configuration on disk: written and tested by us, for an nginx that is ours."""

import asyncio
from typing import Protocol

from clawstead_proxy_sync import nginx_conf
from clawstead_proxy_sync.adapters.files import write_atomically
from clawstead_proxy_sync.adapters.layout import Layout
from clawstead_proxy_sync.adapters.nginx_command import NginxCommand
from clawstead_proxy_sync.nginx_conf import NginxConfig


class ConfigFile(Protocol):
    """What nginx reads, apart from the table."""

    @property
    def revision(self) -> str:
        """What nginx shows on its status server once it has read the configuration in use."""
        ...

    def use(self, config: NginxConfig) -> None:
        """Take ``config`` for the one in use; nothing is written yet."""
        ...

    async def store(self) -> None:
        """Put everything in place that nginx will read. In place already is success.

        Raises:
            EdgeRefusedError: nginx would refuse it; what was there stays.
            EdgeUnavailableError: nginx cannot use it as things are.
            OSError: it could not be stored.
        """
        ...


class OwnConfigFile:
    """``nginx.conf`` in our folder. Keeps ``ConfigFile``."""

    def __init__(self, layout: Layout, command: NginxCommand) -> None:
        self._layout = layout
        self._command = command
        self._text = b""
        self._revision = ""

    @property
    def revision(self) -> str:
        """See ``ConfigFile.revision``."""
        return self._revision

    def use(self, config: NginxConfig) -> None:
        """See ``ConfigFile.use``."""
        self._text = nginx_conf.render(config).encode()
        self._revision = nginx_conf.revision(config)

    async def store(self) -> None:
        """See ``ConfigFile.store``."""
        if self._layout.config.is_file() and self._layout.config.read_bytes() == self._text:
            return
        await asyncio.to_thread(self._layout.candidate_config.write_bytes, self._text)
        await self._command.test(self._layout.candidate_config)
        await asyncio.to_thread(write_atomically, self._layout.config, self._text)
