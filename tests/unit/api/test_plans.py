"""The plans: what ships, and a file of one's own."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from clawstead_api.plans import PlansFileError, load_plans
from clawstead_shared.events import Channel, Provider

MIB = 1024**2


@pytest.mark.parametrize(
    ("name", "cpus", "memory", "grace", "sessions", "workspace", "model", "browser", "telegram"),
    [
        ("free", 0.5, 1536 * MIB, 90, 5, 100 * MIB, "anthropic/claude-sonnet-5", False, False),
        ("pro", 2, 2048 * MIB, 45, None, None, "anthropic/claude-opus-5", False, True),
        ("enterprise", 4, 4096 * MIB, 45, None, None, "anthropic/claude-opus-5", True, True),
    ],
)
def test_the_packaged_plans_are_as_sold(
    name: str,
    cpus: float,
    memory: int,
    grace: float,
    sessions: int | None,
    workspace: int | None,
    model: str,
    browser: bool,
    telegram: bool,
) -> None:
    plan = load_plans().get(name)
    assert plan is not None
    limits = plan.limits
    assert (limits.cpus, limits.memory_bytes, limits.boot_grace_seconds) == (cpus, memory, grace)
    assert (limits.sessions, limits.workspace_bytes, limits.pids) == (sessions, workspace, 512)
    assert plan.model_for(None) == plan.model_for(Provider.ANTHROPIC) == model
    assert plan.browser is browser
    assert (Channel.TELEGRAM in plan.channels) is telegram


def test_a_model_belongs_to_the_provider_whose_key_the_owner_has() -> None:
    for plan in load_plans().root.values():
        for provider, prefix in [
            (Provider.OPENAI, "openai/"),
            (Provider.GEMINI, "google/"),
            (Provider.OPENROUTER, "openrouter/"),
        ]:
            assert plan.model_for(provider).startswith(prefix)


ONE = """
[tiny]
cpus = 1
memory_bytes = 1
boot_grace_seconds = 1
browser = false
channels = []
models = { default = "a/b" }
"""


def test_a_plans_file_replaces_them_all(tmp_path: Path) -> None:
    (tmp_path / "plans.toml").write_text(ONE)
    assert load_plans(tmp_path / "plans.toml").names == ["tiny"]


@pytest.mark.parametrize(("memory", "warned"), [(1280 * MIB, False), (1280 * MIB - 1, True)])
def test_a_plan_below_the_measured_minimum_warns_and_is_used(tmp_path: Path, memory: int, warned: bool) -> None:
    (tmp_path / "plans.toml").write_text(ONE.replace("memory_bytes = 1", f"memory_bytes = {memory}"))
    with capture_logs() as logs:
        plan = load_plans(tmp_path / "plans.toml").get("tiny")
    assert plan is not None
    assert bool(plan.warnings) is bool(logs) is warned
    assert plan.model_dump()["warnings"] == plan.warnings
    if warned:
        assert "1280 MiB" in plan.warnings[0]
        assert logs[0]["plan"] == "tiny"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not toml",
        "[tiny]\ncpus = 1",
        ONE.replace("cpus = 1", "cpus = 0"),
        ONE.replace("default", "anthropic"),
        ONE + "\n[tiny.extra]\nx = 1",
        ONE + '\nwarnings = ["mine"]',
    ],
)
def test_a_bad_plans_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plans.toml"
    path.write_text(text)
    with pytest.raises(PlansFileError, match=r"plans\.toml"):
        load_plans(path)


def test_a_missing_plans_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlansFileError, match="missing"):
        load_plans(tmp_path / "missing")
