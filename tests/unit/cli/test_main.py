"""What every command shares: where its words go."""

from collections.abc import Iterator

import pytest
import structlog

from clawstead_cli import __main__


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("_logging_as_it_was")
def test_what_shared_code_logs_is_no_part_of_a_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "app", lambda: structlog.get_logger().warning("newest message is malformed"))
    __main__.main()
    said = capsys.readouterr()
    assert said.out == ""
    assert "newest message is malformed" in said.err
