"""Whether an nginx has Lua: told by a stand-in for its binary, so that every answer can be had."""

import asyncio
from pathlib import Path

import pytest

from clawstead_proxy_sync.adapters import lua_module
from clawstead_proxy_sync.adapters.layout import Layout
from clawstead_proxy_sync.adapters.nginx_command import NginxCommand
from clawstead_proxy_sync.app import lua_modules
from clawstead_proxy_sync.errors import NoLuaError
from clawstead_proxy_sync.settings import Settings
from clawstead_shared.admin import Readiness
from tests.support.wait import wait_until

MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")


def nginx(directory: Path, described: str, *, complaint: str = "") -> NginxCommand:
    """An nginx that says this of how it was built, and takes or refuses every configuration."""
    binary = directory / "nginx-stand-in"
    refuse = f"echo 'nginx: [emerg] {complaint}' >&2; exit 1" if complaint else "exit 0"
    binary.write_text(f"#!/bin/sh\ncase $3 in -V) echo '{described}' >&2;; *) {refuse};; esac\n")
    binary.chmod(0o755)
    return NginxCommand(str(binary), directory)


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir()
    for name in MODULES:
        (folder / name).touch()
    return folder


async def test_the_modules_that_nginx_accepts_are_found(tmp_path: Path, modules: Path) -> None:
    command = nginx(tmp_path, f"configure arguments: --prefix=/x --modules-path={modules} --with-threads")
    assert await lua_module.find(Layout(tmp_path), command) == tuple(str(modules / name) for name in MODULES)
    assert not Layout(tmp_path).lua_check.exists()


@pytest.mark.parametrize("missing", MODULES)
async def test_a_missing_module_is_named_with_what_to_install(tmp_path: Path, modules: Path, missing: str) -> None:
    (modules / missing).unlink()
    with pytest.raises(NoLuaError, match=rf"{missing} is missing: install .*libnginx-mod-http-lua"):
        await lua_module.find(Layout(tmp_path), nginx(tmp_path, f"--modules-path={modules}"))


async def test_an_nginx_without_modules_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NoLuaError, match="names no folder of modules"):
        await lua_module.find(Layout(tmp_path), nginx(tmp_path, "configure arguments: --prefix=/x"))


async def test_a_module_of_another_nginx_is_not_taken(tmp_path: Path, modules: Path) -> None:
    command = nginx(tmp_path, f"--modules-path={modules}", complaint="module is not binary compatible")
    with pytest.raises(NoLuaError, match=r"module is not binary compatible.*of this nginx"):
        await lua_module.find(Layout(tmp_path), command)


async def test_a_disk_that_fails_says_nothing_about_the_module(tmp_path: Path, modules: Path) -> None:
    Layout(tmp_path).lua_check.mkdir()
    command = nginx(tmp_path, f"--modules-path={modules}")
    assert await lua_module.find(Layout(tmp_path), command) == tuple(str(modules / name) for name in MODULES)


async def test_an_nginx_that_is_not_there_yet_is_waited_for(tmp_path: Path, modules: Path) -> None:
    settings, readiness = Settings(data_dir=tmp_path, nginx_binary=str(tmp_path / "nginx-stand-in")), Readiness()
    settings.directory.mkdir()
    finding = asyncio.create_task(lua_modules(settings, readiness))
    await wait_until(lambda: "install Debian's package nginx" in readiness.waiting.get("edge", ""))
    nginx(tmp_path, f"--modules-path={modules}")
    assert await finding == tuple(str(modules / name) for name in MODULES)
