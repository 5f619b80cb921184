"""What can go wrong at the edge, and what the bus should make of it.

TransientError
├── EdgeUnavailableError   nginx is not running, or not in time
│   └── NoLuaError         this nginx has no Lua, or not one that it takes
└── EdgeRefusedError       nginx refused a table or configuration; the last good one stays
PermanentError
└── UnroutableError        this observation can never become a route; the others go on
"""

import errno

from clawstead_shared.errors import PermanentError, TransientError

_REMEDIES = {
    errno.ENOSPC: "make room on its disk (`df -h`), or free inodes of it (`df -i`)",
    errno.EDQUOT: "raise the quota of proxy-sync's user, or make room",
    errno.EROFS: "`dmesg` says why it can only be read; then `mount -o remount,rw`, or another disk",
    errno.EACCES: "give the folder back to proxy-sync's user (`chown`, `chmod u+rwx`)",
    errno.EPERM: "give the folder back to proxy-sync's user (`chown`, `chmod u+rwx`)",
    errno.EIO: "`dmesg` says what the disk has",
}


class EdgeUnavailableError(TransientError):
    """Nginx is not running, or did not do in time what it was told."""


class NoLuaError(EdgeUnavailableError):
    """Nginx cannot keep routes in memory; says what to install."""


class EdgeRefusedError(TransientError):
    """Nginx refused a table or configuration. What it served before is still served."""


class UnroutableError(PermanentError):
    """A name or address that must never reach a configuration file."""


def explained(error: Exception) -> str:
    """Return an error in words, and for one of the disk what to do about it. It is tried again anyway."""
    remedy = _REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"{error}: {remedy}; it is tried again" if remedy else str(error)
