"""Whether this nginx can keep routes in a shared dictionary: Debian's ``libnginx-mod-http-lua`` gives it the means."""

import asyncio
import contextlib
import re
from pathlib import Path

import structlog

from clawstead_proxy_sync import nginx_conf
from clawstead_proxy_sync.adapters.files import make_directory
from clawstead_proxy_sync.adapters.layout import PASSABLE, Layout
from clawstead_proxy_sync.adapters.nginx_command import NginxCommand
from clawstead_proxy_sync.errors import EdgeRefusedError, NoLuaError, explained

log = structlog.get_logger()

_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
_MODULES_PATH = re.compile(r"--modules-path=(\S+)")
_ADVICE = "install Debian's package libnginx-mod-http-lua"


async def find(layout: Layout, command: NginxCommand) -> tuple[str, ...]:
    """Return the files of the modules, which nginx was seen to accept wherever that could be tried.

    Raises:
        NoLuaError: they are not there, or nginx does not take them.
        EdgeUnavailableError: nginx is missing or hangs.
    """
    built = _MODULES_PATH.search(await command.describe())
    if built is None:
        raise NoLuaError(f"this nginx names no folder of modules (nginx -V); {_ADVICE}")
    modules = tuple(f"{built[1]}/{name}" for name in _MODULES)
    await asyncio.to_thread(_check_there, modules)
    try:
        await asyncio.to_thread(_prepare, layout, modules)
        await command.test(layout.lua_check)
    except OSError as error:
        # A disk that fails says nothing about nginx, which may be serving with these very modules.
        log.warning("it is not tried whether nginx takes its Lua module", why=explained(error))
    except EdgeRefusedError as error:
        raise NoLuaError(f"nginx does not take its Lua module ({error}): {_ADVICE} of this nginx") from error
    finally:
        with contextlib.suppress(OSError):
            layout.lua_check.unlink(missing_ok=True)
    return modules


def _check_there(modules: tuple[str, ...]) -> None:
    if missing := [name for name in modules if not Path(name).is_file()]:
        raise NoLuaError(f"nginx has no Lua, {missing[0]} is missing: {_ADVICE}")


def _prepare(layout: Layout, modules: tuple[str, ...]) -> None:
    for folder in (layout.directory, layout.nginx, layout.nginx / "temp"):
        make_directory(folder, mode=PASSABLE)
    layout.lua_check.write_text(nginx_conf.render_lua_check(modules))
