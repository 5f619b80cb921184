"""Imports nats-py without aiohttp, which it takes along for a WebSocket transport that we do not use.

Where several services share one environment, as under ``make up``, that is 18 MB and 150 ms per process.
"""

import sys


def import_nats_alone() -> None:
    """Import nats-py once with aiohttp hidden; a service that needs aiohttp imports it afterwards as usual."""
    if "aiohttp" in sys.modules or "nats" in sys.modules:
        return
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # Python's way to say "not installed"
    try:
        import nats.aio.client  # noqa: F401, PLC0415 - imported for its effect on sys.modules
    finally:
        del sys.modules["aiohttp"]
