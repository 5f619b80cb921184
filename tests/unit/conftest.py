"""What holds for every test without I/O."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def disk() -> Iterator[None]:
    """Files of a test need not outlive the machine: waiting for the disk would be most of what some tests do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield
