"""Settings that cannot work are refused with the variable's name."""

from pathlib import Path

import pytest

from clawstead_cli.errors import UsageError
from clawstead_cli.settings import Settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CLAWSTEAD_HTTPS_PORT", "many"),
        ("CLAWSTEAD_HTTP_PORT", "0"),
        ("CLAWSTEAD_NATS_PORT", "65536"),
        ("CLAWSTEAD_DOMAIN", "not a domain"),
        ("CLAWSTEAD_DATA_DIR", "/tmp/a;b"),
        ("CLAWSTEAD_DATA_DIR", "/tmp/a\nb"),
        ("CLAWSTEAD_DATA_DIR", "/tmp/100%"),
        ("CLAWSTEAD_DATA_DIR", "/tmp/" + "x" * 100),
    ],
)
def test_a_value_that_cannot_work_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=variable):
        Settings.load()


def test_the_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLAWSTEAD_DATA_DIR", "/elsewhere")
    assert Settings.load(tmp_path).data_dir == tmp_path


def test_a_path_with_spaces_and_letters_of_any_language_works() -> None:
    assert Settings.load(Path("/srv/Ünser Büro")).data_dir.name == "Ünser Büro"
