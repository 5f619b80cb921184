"""Reading the API's event stream as a frontend does."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from tests.e2e.platform import EdgeClient


@dataclass(frozen=True)
class Message:
    """One server-sent event."""

    id: int
    event: str
    data: dict[str, Any]


async def read_until(client: EdgeClient, path: str, condition: Any, *, last_id: int | None = None) -> list[Message]:
    """Collect messages of one stream until ``condition(messages)`` holds, for a minute at most."""
    messages: list[Message] = []
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    async with asyncio.timeout(60), client.stream(path, **headers) as response:
        assert response.status_code == 200
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif "data" in fields:
                messages.append(Message(int(fields["id"]), fields.get("event", ""), json.loads(fields["data"])))
                fields = {}
                if condition(messages):
                    break
    return messages
