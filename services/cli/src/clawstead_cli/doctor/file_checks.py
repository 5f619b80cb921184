"""Can anybody read what only one should? Pure."""

from collections.abc import Iterator

from clawstead_cli.doctor.container_checks import instance_of
from clawstead_cli.doctor.facts import Facts, FileFact, Finding, Severity
from clawstead_shared.events import DesiredState

_OTHERS = 0o077
_PRIVATE_DIRECTORY = 0o700


def file_findings(facts: Facts) -> Iterator[Finding]:
    """Judge secret files, and the instances' directories."""
    files = facts.files.value
    if files is None:
        return
    for each in files.secrets:
        if each.mode & _OTHERS:
            yield _open(each, "whoever reads it can act as the platform, or open what it has sealed")
        if each.uid not in {files.owner, 0}:
            why = "whoever owns it can read and replace it"
            yield Finding(
                "secret files", Severity.CRITICAL, each.path, f"it belongs to uid {each.uid}", why, _chown(each, 0)
            )
    users = _users(facts)
    for each in files.instances:
        yield from _of_instance(each, files.owner, users)
    yield from _left_over(facts, files.instances)


def _of_instance(fact: FileFact, owner: int, users: dict[str, int]) -> Iterator[Finding]:
    _, instance_id, *inside = fact.path.split("/")
    if fact.directory and fact.mode != _PRIVATE_DIRECTORY:
        why = "other users of this host can look into a customer's data"
        todo = f"chmod 700 '{fact.path}' in the data directory"
        yield Finding("instance files", Severity.WARNING, fact.path, f"its mode is {fact.mode:o}", why, todo)
    elif not fact.directory and fact.mode & _OTHERS:
        yield _open(fact, "it holds a customer's keys")
    expected = users.get(instance_id) if inside else owner
    if expected is not None and fact.uid != expected:
        what = f"it belongs to uid {fact.uid}, not {expected}"
        why = "its gateway cannot use it" if inside else "somebody else can change it"
        yield Finding("instance files", Severity.WARNING, fact.path, what, why, _chown(fact, expected))


def _left_over(facts: Facts, found: list[FileFact]) -> Iterator[Finding]:
    bus = facts.bus.value
    if bus is None:
        return
    for each in found:
        instance_id = each.path.split("/")[1]
        desired = bus.desired.get(instance_id)
        if each.path.count("/") == 1 and desired is None:
            yield Finding(
                "instance files",
                Severity.WARNING,
                each.path,
                "the log knows nothing of this instance",
                "a customer's data that nobody looks after, or a log that lost something",
                "`clawstead resync` if the log lost it; else keep a copy and remove it",
            )
        elif each.path.count("/") == 1 and desired and desired.desired_state is DesiredState.DELETED:
            observed = bus.observed.get(instance_id)
            if observed and observed.phase == "removed":
                what = "its instance is removed, its data is not"
                why = "what a customer had deleted should be gone"
                yield Finding("instance files", Severity.WARNING, each.path, what, why, "remove it")


def _users(facts: Facts) -> dict[str, int]:
    """Return as which uid each instance's container runs, where it says so in numbers."""
    engine = facts.engine.value
    users = {}
    for document in engine.containers if engine else ():
        instance_id, user = instance_of(document), str(document["Config"].get("User") or "0").partition(":")[0]
        if instance_id and user.isdecimal():
            users[instance_id] = int(user)
    return users


def _open(fact: FileFact, why: str) -> Finding:
    todo = f"chmod 600 '{fact.path}' in the data directory; if others may have read it, replace it"
    return Finding("secret files", Severity.CRITICAL, fact.path, f"others may read it (mode {fact.mode:o})", why, todo)


def _chown(fact: FileFact, uid: int) -> str:
    return f"chown {uid}:{uid} '{fact.path}' in the data directory"
