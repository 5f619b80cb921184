"""Ctrl-C, a closed terminal and ``kill`` mean the same to a command in the foreground: end in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, _: FrameType | None) -> None:
    ignore_interrupts()  # the next one must not break off the orderly end that this one begins
    raise KeyboardInterrupt(signal.Signals(number).name)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt, once, for any of the signals that ask the block to end."""
    before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_interrupts() -> None:
    """Let nothing but SIGKILL break off what follows."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
