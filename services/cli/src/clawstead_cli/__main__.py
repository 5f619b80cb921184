"""Entry of ``clawstead``: run the command, turn what stops it into a message and an exit code."""

import sys

import structlog

from clawstead_cli.app import app
from clawstead_cli.console import report
from clawstead_cli.errors import CommandError


def main() -> None:
    """Run the command line."""
    # What shared code logs is no part of a result, which may be JSON for a program.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        app()
    except CommandError as error:
        report(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
