"""Listens to what a provisioner says, and knows when it was said."""

import asyncio
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from clawstead_shared.subjects import Topic, all_of


@dataclass(frozen=True)
class Word:
    """One observation; ``at`` is the wall clock's time when it came."""

    at: float
    phase: str
    generation: int


class Observer:
    """All observations since it was started."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._words: dict[str, list[Word]] = defaultdict(list)
        self._news = asyncio.Event()

    @classmethod
    async def start(cls, url: str) -> "Observer":
        """Connect and listen."""
        observer = cls(await nats.connect(url))
        await observer._client.subscribe(all_of(Topic.OBSERVED), cb=observer._hear)
        return observer

    async def _hear(self, message: Msg) -> None:
        body: dict[str, Any] = json.loads(message.data)
        word = Word(time.time(), body["phase"], body["generation"])
        self._words[body["instance_id"]].append(word)
        self._news.set()

    async def when(self, instance_id: str, phase: str, *, generation: int = 0, since: float = 0) -> float:
        """Return when a phase of at least this generation was said first, after a moment."""
        while True:
            for word in self._words[instance_id]:
                if word.phase == phase and word.generation >= generation and word.at > since:
                    return word.at
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 120)

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()
