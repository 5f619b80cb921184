"""``Idempotency-Key``: a repeated request gets the first one's answer, and changes nothing again.

The answer is stored in the transaction that makes the change, so there is no moment in which one exists
without the other. Two requests at once with one key collide on its primary key; the later one then reads the
earlier one's answer.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api.errors import FieldError, IdempotencyKeyReusedError, InvalidRequestError
from clawstead_api.tables import IdempotencyKey

KEPT = timedelta(hours=24)

_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Once:
    """One request that is to take effect once."""

    owner_id: str
    key: str
    fingerprint: str


def once(owner_id: str, key: str | None, request: tuple[str, bytes], secret: bytes) -> Once | None:
    """Return how to recognise the request ``(what it asks, its body)`` again, None if it names no key.

    The fingerprint is keyed with ``secret``, as the body may hold passwords that a plain hash would give away.

    Raises:
        InvalidRequestError: the key is not 1 to 255 visible ASCII characters.
    """
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidRequestError(FieldError("Idempotency-Key", "must be 1 to 255 visible ASCII characters"))
    target, body = request
    canonical = json.dumps([target, json.loads(body) if body.strip() else None], sort_keys=True)
    fingerprint = hashlib.blake2b(canonical.encode(), key=secret, digest_size=32).hexdigest()
    return Once(owner_id, key, fingerprint)


async def answer_of(session: AsyncSession, request: Once | None) -> dict[str, Any] | None:
    """Return what was answered to the same request within the last day, None if it is new.

    Raises:
        IdempotencyKeyReusedError: its key was used for another request.
    """
    if request is None:
        return None
    row = await session.get(IdempotencyKey, (request.owner_id, request.key))
    if row is None:
        return None
    if row.created_at < datetime.now(UTC) - KEPT:
        await session.delete(row)
        await session.flush()
        return None
    if row.fingerprint != request.fingerprint:
        raise IdempotencyKeyReusedError
    return row.response


def remember(session: AsyncSession, request: Once | None, answer: dict[str, Any]) -> None:
    """Store what is answered, together with the changes that the transaction makes."""
    if request is not None:
        session.add(
            IdempotencyKey(
                owner_id=request.owner_id,
                key=request.key,
                fingerprint=request.fingerprint,
                response=answer,
                created_at=datetime.now(UTC),
            )
        )
