"""Which files the doctor takes for secrets, and what it reads of them."""

from pathlib import Path

from clawstead_cli.adapters.installation_files import installation_files
from clawstead_cli.settings import Settings


def test_a_link_to_a_key_is_judged_by_the_key(tmp_path: Path) -> None:
    tls = tmp_path / "proxy-sync" / "tls"
    tls.mkdir(parents=True)
    key = tls / "ca.key"
    key.touch(mode=0o640)
    (tls / "served.key").symlink_to("ca.key")
    found = installation_files(Settings.load(tmp_path)).secrets
    assert [(fact.path, fact.mode) for fact in found] == [("proxy-sync/tls/ca.key", 0o640)]
