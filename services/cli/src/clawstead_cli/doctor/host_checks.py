"""The host: disks, clock. Pure."""

from collections.abc import Iterator
from datetime import timedelta

from clawstead_cli.doctor.facts import Disk, Facts, Finding, Severity

_LITTLE_SHARE, _NO_SHARE = 0.10, 0.03
_LITTLE_BYTES, _NO_BYTES = 5 * 1024**3, 1024**3
_GIB = 1024**3
_SKEW = timedelta(seconds=5)


def host_findings(facts: Facts) -> Iterator[Finding]:
    """Judge what all instances share."""
    for disk in facts.disks.value or ():
        yield from _disk(disk)
    yield from _clock(facts)


def _disk(disk: Disk) -> Iterator[Finding]:
    why = "a full disk stops the log, and with it every change; gateways fail to write"
    if disk.read_only:
        what, todo = "it can only be read", "`dmesg` says why; then `mount -o remount,rw`, or another disk"
        yield Finding("disk", Severity.CRITICAL, f"{disk.about} ({disk.path})", what, why, todo)
    gone = (disk.free_bytes < _NO_BYTES, disk.free_share < _NO_SHARE, disk.free_inodes_share < _NO_SHARE)
    little = (disk.free_bytes < _LITTLE_BYTES, disk.free_share < _LITTLE_SHARE, disk.free_inodes_share < _LITTLE_SHARE)
    if any(gone) or any(little):
        severity = Severity.CRITICAL if any(gone) else Severity.WARNING
        left = (
            f"{disk.free_bytes / _GIB:.1f} GiB ({disk.free_share:.0%}) and {disk.free_inodes_share:.0%} of the inodes"
        )
        todo = "make room: `docker image prune`, `docker system df`, or a larger disk"
        yield Finding("disk", severity, f"{disk.about} ({disk.path})", f"{left} are left", why, todo)


def _clock(facts: Facts) -> Iterator[Finding]:
    engine, bus = facts.engine.value, facts.bus.value
    why = "tickets, certificates and the order of what happened are judged by the clock"
    todo = "is time synchronised? `timedatectl`"
    if engine and abs(skew := facts.now - engine.time) > _SKEW:
        what = f"it differs from this machine's by {abs(skew).total_seconds():.0f} s"
        yield Finding("clock", Severity.WARNING, "the Docker engine's clock", what, why, todo)
    if bus and bus.newest_at and bus.newest_at - facts.now > _SKEW:
        ahead = (bus.newest_at - facts.now).total_seconds()
        what = f"the newest event is {ahead:.0f} s in the future: the clock was set back"
        yield Finding("clock", Severity.WARNING, "this machine's clock", what, why, todo)
