"""The one rule of sudo that proxy-sync needs. Pure."""

import re

_USER = re.compile(r"[a-z_][a-z0-9_-]*")


def rule_text(user: str, command: tuple[str, ...]) -> str:
    """Return the file of the rule: exactly this command with exactly these arguments, and no password.

    Raises:
        ValueError: a name or path that means something to sudo.
    """
    if not _USER.fullmatch(user) or not re.fullmatch(r"/[A-Za-z0-9._/-]+", command[0]):
        raise ValueError(f"cannot stand in a rule of sudo: {user!r}, {command[0]!r}")
    return (
        "# Written by `clawstead edge install`: proxy-sync may have nginx read its files again, and nothing else.\n"
        f"{user} ALL=(root) NOPASSWD: {' '.join(command)}\n"
    )


def allows(text: str) -> list[str]:
    """Return the commands that a file of rules lets somebody run, as they are written."""
    lines = (line.strip() for line in text.replace("\\\n", " ").splitlines())
    return [line.rpartition(":")[2].strip() for line in lines if line and not line.startswith(("#", "Defaults"))]
