"""What the generated documents say of the subjects beside the log: notices, and requests of operators."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from clawstead_shared.control import (
    CertificateReport,
    CertificateRequest,
    InstanceLogs,
    LogsRequest,
    RebuildReport,
    RedriveRequest,
    Refusal,
    ReplayReport,
    ReplayRequest,
    ResyncReport,
    Verb,
)
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import ADVISORY_STREAM
from clawstead_shared.subjects import CONTROL_ROOT, NOTICE_ROOT

REQUESTS: dict[Verb, tuple[type[BaseModel] | None, type[BaseModel]]] = {
    Verb.REPLAY: (ReplayRequest, ReplayReport),
    Verb.REDRIVE: (RedriveRequest, ReplayReport),
    Verb.REBUILD: (None, RebuildReport),
    Verb.RESYNC: (None, ResyncReport),
    Verb.LOGS: (LogsRequest, InstanceLogs),
    Verb.CERTIFICATE: (CertificateRequest, CertificateReport),
}
"""Each verb with what is asked, None for an empty message, and what is answered instead of a ``Refusal``."""


def models() -> list[type[BaseModel]]:
    """Return every model that travels on these subjects."""
    asked = [request for request, _ in REQUESTS.values() if request]
    return list(dict.fromkeys([Notice, Refusal, *asked, *(answer for _, answer in REQUESTS.values())]))


def channels() -> dict[str, Any]:
    """Return the AsyncAPI channels."""
    notice = {
        "address": f"{NOTICE_ROOT}.{{kind}}",
        "description": f"Stream {ADVISORY_STREAM}, kept for a month. Written by keeper; of certificates by proxy-sync.",
        "parameters": {"kind": {"enum": [kind.value for kind in NoticeKind]}},
        "messages": {"notice": {"$ref": "#/components/messages/notice"}},
    }
    return {"notice": notice, **{f"control-{verb}": _control(verb) for verb in Verb}}


def messages() -> dict[str, Any]:
    """Return the AsyncAPI messages of the channels."""
    found = {"notice": _message(Notice), "refusal": _message(Refusal)}
    for verb, (request, answer) in REQUESTS.items():
        found[f"{verb}-request"] = _message(request) if request else {"summary": "Empty.", "payload": {"const": ""}}
        found[f"{verb}-answer"] = _message(answer)
    return found


def schemas() -> dict[str, Any]:
    """Return the JSON schemas of the messages."""
    _, found = models_json_schema(
        [(model, "validation") for model in models()], ref_template="#/components/schemas/{model}"
    )
    definitions: dict[str, Any] = found["$defs"]
    return definitions


def page() -> list[str]:
    """Return the lines of docs/events.md."""
    lines = [
        "",
        "# Beside the log",
        "",
        "## Notices",
        "",
        f"What an operator should hear of, on `{NOTICE_ROOT}.<kind>` in stream `{ADVISORY_STREAM}`, written by keeper;",
        "of certificates by proxy-sync.",
        "Kinds: " + ", ".join(f"`{kind}`" for kind in NoticeKind),
        "",
        "## Requests of operators",
        "",
        f"On `{CONTROL_ROOT}.<service>.<verb>`, answered and not stored (ADR 14). Any may be answered by a `Refusal`.",
        "",
        "| verb | asked with | answered with |",
        "|---|---|---|",
    ]
    for verb, (request, answer) in REQUESTS.items():
        lines.append(f"| `{verb}` | {f'`{request.__name__}`' if request else 'nothing'} | `{answer.__name__}` |")
    return lines


def _control(verb: Verb) -> dict[str, Any]:
    names = (f"{verb}-request", f"{verb}-answer", "refusal")
    return {
        "address": f"{CONTROL_ROOT}.{{service}}.{verb}",
        "description": "Core NATS request and reply; one process of the service answers.",
        "parameters": {"service": {"description": "Name of a service"}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    summary = (model.__doc__ or "").strip().splitlines()[0]
    return {"summary": summary, "payload": {"$ref": f"#/components/schemas/{model.__name__}"}}
