"""Entry of the terminal gateway."""

from clawstead_shared.service import serve
from clawstead_terminal.app import run
from clawstead_terminal.settings import TerminalSettings


def main() -> None:
    """Run the terminal gateway until it is told to stop."""
    settings = TerminalSettings()
    serve("terminal", settings, port=settings.terminal_port, body=lambda service: run(service, settings))


if __name__ == "__main__":
    main()
