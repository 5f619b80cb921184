"""What every level of the pyramid needs; what only one needs would cost the others its imports."""

import pytest
import structlog

pytest.register_assert_rewrite("tests.support.invariants")  # a chaos run that fails has to say what it found

# The default prints every local variable of every frame: seconds of work inside the event loop, and secrets.
_renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _renderer])
