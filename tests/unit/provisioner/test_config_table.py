"""``docs/openclaw-config.md`` lists exactly the settings that the code writes."""

import re
from itertools import product

from clawstead_provisioner.openclaw_config import ABSENT, Settings, default_settings, owned_settings
from clawstead_shared.events import Channel, Provider
from tests.contract.source_tree import ROOT
from tests.support.factories import make_desired, make_limits, make_spec
from tests.support.profiles import PROFILES

TABLE = ROOT / "docs" / "openclaw-config.md"
INSTANCE = "01jc00000000000000000000aa"


def everything() -> tuple[Settings, Settings]:
    """Return all settings, of all kinds of instances together: those insisted on, and the defaults."""
    owned: Settings = {}
    defaults: Settings = {}
    profile = PROFILES.of("openclaw/openclaw", {})
    for browser, channel in product((False, True), Channel):
        limits = make_limits(sessions=5)
        spec = make_spec(INSTANCE, browser=browser, channel=channel, provider=Provider.OPENAI, limits=limits)
        desired = make_desired(INSTANCE, spec=spec)
        owned |= owned_settings(desired, "10.212.0.1", profile)
        defaults |= default_settings(desired, profile, "http://collector:4318")
    return owned, defaults


def test_the_table_names_every_setting_with_its_owner() -> None:
    owned, defaults = everything()
    kinds = {path: "absent" if value is ABSENT else "platform" for path, value in owned.items()}
    kinds |= {path: "default" for path in defaults if path not in owned}
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| (platform|default|absent)", TABLE.read_text(), re.MULTILINE))
    assert rows == {".".join(path): kind for path, kind in kinds.items()}
