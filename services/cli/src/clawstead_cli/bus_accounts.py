"""The part of a nats-server configuration that says who may do what: accounts, users, permissions. Pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping

from clawstead_cli.bus_users import BusUser, bus_users

BUS_ACCOUNT = "CLAWSTEAD"
"""Owns the streams. On disk they lie in a directory of this name."""

_MANY_ANSWERS = ("$JS.API.DIRECT.GET.", "$JS.API.CONSUMER.MSG.NEXT.")
_ANSWER_WITHIN = "15m"
"""Above the longest that a service may take for what an operator asks; without it the server forgets after 2 min."""


def bus_accounts(keys: Mapping[str, str]) -> str:
    """Return the ``accounts`` block; ``keys`` are the users' public keys by name.

    Everybody who is not listed is refused, and so is everything that is not listed.
    """
    users = bus_users()
    services = [user for user in users if not user.trusted]
    lines = [
        "accounts {",
        f"  {BUS_ACCOUNT} {{",
        "    jetstream: enabled",
        *_users([user for user in users if user.trusted], keys),
        *_list("exports", _exports(services)),
        *_list("imports", [_service_import(user.name, subject) for user in services for subject in user.answers]),
        "  }",
    ]
    for user in services:
        lines += [f"  {user.name} {{", *_users([user], keys), *_own_exports(user, services), *_imports(user), "  }"]
    return "\n".join([*lines, "}", ""])


def _users(users: Iterable[BusUser], keys: Mapping[str, str]) -> list[str]:
    return _list("users", [_user(user, keys[user.name]) for user in users])


def _user(user: BusUser, key: str) -> str:
    # To whom it answers is known only when it is asked.
    responses = ", allow_responses: true" if user.answers else ""
    return (
        f"{{nkey: {key}, permissions: {{publish: {_array(user.publish)},"
        f" subscribe: {_array(user.subscribe)}{responses}}}}}  # {user.name}"
    )


def _exports(services: Iterable[BusUser]) -> list[str]:
    to: dict[tuple[str, str], list[str]] = defaultdict(list)
    for user in services:
        for subject in user.sends:
            to["service", subject].append(user.name)
        for subject in user.hears:
            to["stream", subject].append(user.name)
    return [
        f"{{{kind}: {json.dumps(subject)}, accounts: {_array(names)}{_answers(subject)}}}"
        for (kind, subject), names in to.items()
    ]


def _answers(subject: str) -> str:
    return ", response_type: stream" if subject.startswith(_MANY_ANSWERS) else ""


def _own_exports(user: BusUser, services: Iterable[BusUser]) -> list[str]:
    asking = [other.name for other in services if any(question.whom == user.name for question in other.questions)]
    return _list(
        "exports",
        [
            f"{{service: {json.dumps(subject)}, accounts: {_array([BUS_ACCOUNT, *asking])},"
            f' response_threshold: "{_ANSWER_WITHIN}"}}'
            for subject in user.answers
        ],
    )


def _imports(user: BusUser) -> list[str]:
    return _list(
        "imports",
        [
            *(_service_import(BUS_ACCOUNT, subject) for subject in user.sends),
            *(f"{{stream: {{account: {BUS_ACCOUNT}, subject: {json.dumps(subject)}}}}}" for subject in user.hears),
            *(_service_import(question.whom, question.subject) for question in user.questions),
        ],
    )


def _service_import(account: str, subject: str) -> str:
    return f"{{service: {{account: {account}, subject: {json.dumps(subject)}}}}}"


def _list(name: str, items: list[str]) -> list[str]:
    return [f"    {name}: [", *(f"      {item}" for item in items), "    ]"]


def _array(subjects: Iterable[str]) -> str:
    return json.dumps(list(subjects))
