"""The edge: what it cannot do now, and whether it may do more than it needs. Pure."""

from collections.abc import Iterator

from clawstead_cli.doctor.facts import Facts, Finding, Severity, SystemEdge
from clawstead_cli.sudo_rule import allows

_INSTALL = "`clawstead edge install`, with the settings of proxy-sync"
_OTHERS = {"bus", "boot"}
"""What proxy-sync waits for beside the edge; the bus has findings of its own."""


def edge_findings(facts: Facts) -> Iterator[Finding]:
    """Judge what proxy-sync says, and what was installed into the machine's nginx."""
    for condition, reason in (facts.edge_waits.value or {}).items():
        if condition not in _OTHERS:
            why = "new routes may not open, and what is served may be old"
            todo = "what it says; `clawstead logs proxy-sync` has more"
            yield Finding("edge", Severity.CRITICAL, f"proxy-sync: {condition}", reason, why, todo)
    if facts.system_edge.value:
        yield from _installed(facts.system_edge.value)


def _installed(edge: SystemEdge) -> Iterator[Finding]:
    if not edge.site:
        what = "the machine's nginx has no site of Clawstead"
        yield Finding("edge site", Severity.CRITICAL, "conf.d", what, "nobody can reach any instance", _INSTALL)
    if not edge.nginx_runs:
        what = "it does not run, and is not ours to start"
        why = "nobody can reach any instance"
        yield Finding("edge site", Severity.CRITICAL, "the machine's nginx", what, why, "`systemctl start nginx`")
    if edge.rule is None:
        if edge.runner_uid:
            why = "proxy-sync cannot have nginx read its files again: routes and certificates get old"
            what = f"uid {edge.runner_uid} may not reload nginx"
            yield Finding("sudo rule", Severity.CRITICAL, "sudoers.d", what, why, _INSTALL)
        return
    wide = [command for command in allows(edge.rule) if not _narrow(command)]
    if wide:
        why = "whoever takes over proxy-sync could do that as root"
        what = f"it lets through more than a reload of nginx: {', '.join(wide)}"
        yield Finding("sudo rule", Severity.CRITICAL, "sudoers.d", what, why, _INSTALL)


def _narrow(command: str) -> bool:
    program, *arguments = command.split() or [""]
    plain = program.startswith("/") and program.endswith("/nginx") and not set(program) & set("*?[]!,\\")
    return plain and arguments == ["-s", "reload"]
