"""What stops a command: a message, what to do about it, and the exit code that scripts can rely on."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes, documented in ``clawstead --help``."""

    OK = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


class CommandError(Exception):
    """A command could not do what it was asked to."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CommandError):
    """An option or a setting has a value that cannot work."""

    exit_code = ExitCode.USAGE


class MissingError(CommandError):
    """The machine lacks something that only its owner can give: root, Docker, an image, a free port."""

    exit_code = ExitCode.MISSING


class UnreachableError(CommandError):
    """A process that should answer does not."""

    exit_code = ExitCode.UNREACHABLE
