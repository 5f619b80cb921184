"""What a gateway talks to, in one server: Telegram with one person on it, and a model that speaks OpenAI's protocol."""

import asyncio
import itertools
import json
import time
from typing import Any, Self

from aiohttp import web

MODEL = {"id": "fake-1", "name": "Fake", "contextWindow": 128000, "maxTokens": 4096}
PERSON = {"id": 4711, "is_bot": False, "first_name": "Ada"}
BOT = {"id": 123456, "is_bot": True, "first_name": "Claw", "username": "claw_test_bot"}
_LONGEST_POLL_SECONDS = 20.0


class ChatWorld:
    """Listens on one address of the host, on a port of the system's choosing."""

    def __init__(self, host: str, bot_token: str) -> None:
        self._host = host
        self._token = bot_token
        self.port = 0
        self.sent: list[str] = []
        """What the bot wrote to the person, every version of it."""
        self.asked: list[str] = []
        """What the model was asked, whole requests."""
        self.calls: list[str] = []
        self._updates: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self._news = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/bot{token}/{method}", self._telegram)
        app.router.add_post("/v1/chat/completions", self._completion)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner
        await self._runner.cleanup()

    def write(self, text: str) -> None:
        """Have the person write to the bot."""
        number = next(self._ids)
        chat = {"id": PERSON["id"], "type": "private", "first_name": PERSON["first_name"]}
        message = {"message_id": number, "date": int(time.time()), "from": PERSON, "chat": chat, "text": text}
        self._updates.append({"update_id": number, "message": message})
        self._news.set()

    async def _telegram(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls.append(method)
        if request.match_info["token"] != self._token:
            return web.json_response({"ok": False, "error_code": 401, "description": "Unauthorized"}, status=401)
        said = await _fields(request)
        match method:
            case "getMe":
                result: Any = BOT
            case "getUpdates":
                result = await self._poll(said)
            case "sendMessage" | "editMessageText":
                self.sent.append(str(said.get("text", "")))
                result = {"message_id": next(self._ids), "date": int(time.time()), "chat": {"id": PERSON["id"]}}
            case _:
                result = True
        return web.json_response({"ok": True, "result": result})

    async def _poll(self, said: dict[str, Any]) -> list[dict[str, Any]]:
        offset = int(said.get("offset") or 0)
        patience = min(float(said.get("timeout") or 0), _LONGEST_POLL_SECONDS)
        if not self._fresh(offset):
            self._news.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._news.wait()
            except TimeoutError:
                return []
        return self._fresh(offset)

    def _fresh(self, offset: int) -> list[dict[str, Any]]:
        return [update for update in self._updates if update["update_id"] >= offset]

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        asked = await request.text()
        self.asked.append(asked)
        answer = f"answer number {len(self.asked)}"
        if not json.loads(asked).get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
            return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": _USAGE})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        deltas: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": answer}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": _USAGE},
        ]
        for delta in deltas:
            chunk = {"id": "1", "object": "chat.completion.chunk", "model": MODEL["id"], **delta}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


_USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}


async def _fields(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        document: dict[str, Any] = await request.json()
        return document
    return {**request.query, **await request.post()}
