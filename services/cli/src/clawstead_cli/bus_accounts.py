"""The part of a nats-server configuration that says who may do what: accounts, users, permissions. Pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping

from clawstead_cli.bus_users import BusUser, bus_users

BUS_ACCOUNT = "CLAWSTEAD"
"""Owns the streams. On disk they lie in a directory of this name."""

_API = "$JS.API.>"
"""Let into a service's account as one. Without it the server answers there too, that the account has no JetStream,
and now and then before the bus account does. What of it a service may ask for, its user's permissions say."""
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
    to: dict[str, list[str]] = defaultdict(list)
    for user in services:
        for subject in _let_in(user):
            to[subject].append(user.name)
    return [
        f"{{service: {json.dumps(subject)}, accounts: {_array(names)}{_answers(subject)}}}"
        for subject, names in to.items()
    ]


def _let_in(user: BusUser) -> list[str]:
    return [_API, *(subject for subject in user.sends if not subject.startswith(_API[:-1]))]


def _answers(subject: str) -> str:
    # A pull and a read in pages have many answers.
    return ", response_type: stream" if subject == _API else ""


def _own_exports(user: BusUser, services: list[BusUser]) -> list[str]:
    asking = [other.name for other in services if any(question.other == user.name for question in other.questions)]
    return _list(
        "exports",
        [
            *(
                f"{{service: {json.dumps(subject)}, accounts: {_array([BUS_ACCOUNT, *asking])},"
                f' response_threshold: "{_ANSWER_WITHIN}"}}'
                for subject in user.answers
            ),
            *(
                # The bus account cannot pass it on: what was let in by one account is not let out to another.
                f"{{stream: {json.dumps(heard.subject)}, accounts: {_array([other.name])}}}"
                for other in services
                for heard in other.hears
                if heard.other == user.name
            ),
        ],
    )


def _imports(user: BusUser) -> list[str]:
    return _list(
        "imports",
        [
            *(_service_import(BUS_ACCOUNT, subject) for subject in _let_in(user)),
            *(f"{{stream: {{account: {each.other}, subject: {json.dumps(each.subject)}}}}}" for each in user.hears),
            *(_service_import(question.other, question.subject) for question in user.questions),
        ],
    )


def _service_import(account: str, subject: str) -> str:
    return f"{{service: {{account: {account}, subject: {json.dumps(subject)}}}}}"


def _list(name: str, items: list[str]) -> list[str]:
    return [f"    {name}: [", *(f"      {item}" for item in items), "    ]"]


def _array(subjects: Iterable[str]) -> str:
    return json.dumps(list(subjects))
