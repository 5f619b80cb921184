"""What can go wrong at the edge, and what the bus should make of it.

TransientError
├── EdgeUnavailableError   nginx is not running, or not in time
└── EdgeRefusedError       nginx refused a table or configuration; the last good one stays
PermanentError
└── UnroutableError        this observation can never become a route; the others go on
"""

from clawstead_shared.errors import PermanentError, TransientError


class EdgeUnavailableError(TransientError):
    """Nginx is not running, or did not do in time what it was told."""


class EdgeRefusedError(TransientError):
    """Nginx refused a table or configuration. What it served before is still served."""


class UnroutableError(PermanentError):
    """A name or address that must never reach a configuration file."""
