#!/usr/bin/env python3
"""Cuts the power of the disk that NATS keeps its streams on, while events are published, and counts what is lost.

A nats-server of its own, with the configuration that `clawstead up` writes, on an ext4 of its own in a file: the
platform is not touched. The cut is ext4's own emergency shutdown, without flushing its log: what was not synced is
gone, as when the plug is pulled. Ending the server alone would prove nothing, since the kernel keeps what it wrote.

  sudo .venv/bin/python ops/drills/nats-power-loss.py                  with our configuration: exit code 0
  sudo .venv/bin/python ops/drills/nats-power-loss.py --default-sync   without `sync_interval: always`: loses events

Needs root, a loop device, mkfs.ext4. Prints one line of JSON; exit code 1 when an acknowledged event is lost, 3 when
the machine cannot do it.
"""

import argparse
import asyncio
import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client

from clawstead_cli.adapters.jetstream import connected_client
from clawstead_cli.bus_seeds import ensure_seeds
from clawstead_cli.deadline import Deadline
from clawstead_cli.nats_conf import nats_conf
from clawstead_cli.settings import Settings
from clawstead_shared import topology
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Log
from clawstead_shared.streams import STATE_STREAM
from clawstead_shared.subjects import Topic, subject_of

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
IMAGE_BYTES = 512 * 1024**2
PUBLISHERS = 64
BODY = b"x" * 600
"""About what an event weighs."""
START_SECONDS = 20.0
FEWEST = 100
LONGEST_SECONDS = 30.0
"""A slow disk is given more time, until so many events are acknowledged: of none, none can be lost."""
CANNOT = 3
ALONE = "CLAWSTEAD_DRILL_ALONE"
"""Set in a mount namespace of its own: a container that starts meanwhile would keep the disk mounted, and cut off."""


class Disk:
    """An ext4 in a file."""

    def __init__(self, directory: Path) -> None:
        self._image = directory / "disk.img"
        self.path = directory / "disk"
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-F", str(self._image))

    def mount(self) -> None:
        """Mount it; the kernel replays what its log still has."""
        run("mount", "-o", "loop", str(self._image), str(self.path))

    def unmount(self) -> None:
        """Let go of it."""
        run("umount", str(self.path))

    def cut(self) -> None:
        """Lose everything that was not synced, at once."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)


class Server:
    """A nats-server on the disk, as the platform starts it."""

    def __init__(self, settings: Settings, *, always: bool) -> None:
        self._settings = settings
        keys = ensure_seeds(settings.seeds_dir)
        text = nats_conf(settings, keys)
        settings.nats_dir.joinpath("nats.conf").write_text(text if always else without_sync(text))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it while the block runs, and end it as a power loss would: at once."""
        command = [str(self._settings.bin_dir / "nats-server"), "-c", str(self._settings.nats_dir / "nats.conf")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
        try:
            yield
        finally:
            process.kill()
            process.wait(10)


def without_sync(text: str) -> str:
    """Return the configuration with the server's own default."""
    line = "  sync_interval: always\n"
    if line not in text:
        sys.exit("the generated configuration does not sync: nothing to compare with")
    return text.replace(line, "")


def run(*command: str) -> None:
    """Run a command of the system; exit when it fails."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed commands
    if ended.returncode:
        print(f"{command[0]}: {ended.stderr.strip()}", file=sys.stderr)
        sys.exit(CANNOT)


async def publish_until_cut(client: Client, disk: Disk, seconds: float) -> tuple[dict[str, int], float]:
    """Publish, cut the power in the middle of it; return sequences by id of what was acknowledged, and the seconds."""
    acknowledged: dict[str, int] = {}
    jetstream, enough = client.jetstream(), asyncio.Event()

    async def publisher() -> None:
        with suppress(nats.errors.Error, asyncio.TimeoutError):
            while True:
                event_id = new_instance_id()
                headers = {"Nats-Msg-Id": event_id}
                subject = subject_of(Topic.DESIRED, event_id)
                ack = await jetstream.publish(subject, BODY, headers=headers, timeout=LONGEST_SECONDS)
                acknowledged[event_id] = ack.seq
                if len(acknowledged) >= FEWEST:
                    enough.set()

    began = time.monotonic()
    publishers = [asyncio.create_task(publisher()) for _ in range(PUBLISHERS)]
    await asyncio.sleep(seconds)
    with suppress(TimeoutError):
        await asyncio.wait_for(enough.wait(), LONGEST_SECONDS)
    took = time.monotonic() - began
    # What is acknowledged later does not count: the server outlives this cut, and answers although it could not sync.
    in_time = dict(acknowledged)
    await asyncio.to_thread(disk.cut)
    for task in publishers:
        task.cancel()
    await asyncio.gather(*publishers, return_exceptions=True)
    return in_time, took


async def drill(disk: Disk, settings: Settings, *, always: bool, seconds: float) -> dict[str, Any]:
    """Publish, cut, start again, compare; return the figures."""
    server = Server(settings, always=always)
    with server.running():
        async with connected_client(settings.bus, Deadline.after(START_SECONDS)) as client:
            await topology.apply(client.jetstream())
            os.sync()
            acknowledged, took = await publish_until_cut(client, disk, seconds)
    disk.unmount()
    disk.mount()
    started = time.monotonic()
    with server.running():
        async with connected_client(settings.bus, Deadline.after(START_SECONDS)) as client:
            last = (await client.jetstream().stream_info(STATE_STREAM)).state.last_seq
            back = time.monotonic() - started
            stored = {message.headers["Nats-Msg-Id"] async for message in Log(lambda: client).read()}
    return {
        "sync": "always" if always else "default",
        "acknowledged": len(acknowledged),
        "per_second": round(len(acknowledged) / took),
        "lost": len(acknowledged.keys() - stored),
        "last_sequence_acknowledged": max(acknowledged.values(), default=0),
        "last_sequence_after": last,
        "back_after_seconds": round(back, 2),
    }


def main() -> int:
    """Read the options, run the drill, print what it found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--default-sync", action="store_true", help="without sync_interval: always, to compare")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to publish before the cut, at least")
    parser.add_argument("--port", type=int, default=4299, help="a free loopback port for the server")
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        print("needs root and mkfs.ext4", file=sys.stderr)
        return CANNOT
    if ALONE not in os.environ:
        run("unshare", "--mount", "true")
        command = ["unshare", "--mount", sys.executable, *sys.argv]
        os.execvpe("unshare", command, {**os.environ, ALONE: "1"})  # noqa: S606, S607 - ourselves, by the system's own
    with tempfile.TemporaryDirectory(prefix="claw-") as directory:
        disk = Disk(Path(directory))
        disk.mount()
        try:
            settings = Settings(data_dir=disk.path, nats_port=options.port, nats_url="", nats_seed_file=None)
            found = asyncio.run(drill(disk, settings, always=not options.default_sync, seconds=options.seconds))
        finally:
            with suppress(SystemExit):
                disk.unmount()
    print(json.dumps(found))
    return 1 if found["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
