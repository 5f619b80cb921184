"""Thirty customers with one instance each at a time, who ask until they are answered and remember what was accepted."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.chaos.plan import SLOTS, Do, Operation
from tests.e2e.platform import EdgeClient

BOT_TOKEN, API_KEY = "chaos-bot-token-canary", "chaos-api-key-canary"
_ACCEPT_SECONDS = 120
_RETRY_SECONDS = 0.25
_WATCH_SECONDS = 0.3
_PLANS = ("enterprise", "pro")


@dataclass
class Order:
    """One request that was accepted."""

    do: Do
    generation: int
    asked_at: float
    done_at: float | None = None

    @property
    def seconds(self) -> float:
        """From the first try to what was asked for, or to something newer; endless if it never came."""
        return (self.done_at or float("inf")) - self.asked_at


@dataclass
class Made:
    """One instance that was accepted, and all that was accepted for it."""

    id: str
    desired_state: str = "running"
    orders: list[Order] = field(default_factory=list)

    @property
    def generation(self) -> int:
        """The newest that was accepted."""
        return max(order.generation for order in self.orders)


class Customers:
    """Everyone who uses the platform during a run."""

    def __init__(self, client: EdgeClient, images: Sequence[str]) -> None:
        self._client = client
        self._images = itertools.cycle(images)
        self._plans = itertools.cycle(_PLANS)
        self._holds: dict[int, Made] = {}
        self._turns = [asyncio.Lock() for _ in range(SLOTS)]
        self.made: list[Made] = []

    def instance_of(self, slot: int) -> str | None:
        """Return the instance that a slot has at this moment."""
        made = self._holds.get(slot)
        return made.id if made else None

    @property
    def living(self) -> list[Made]:
        return [made for made in self.made if made.desired_state != "deleted"]

    @property
    def orders(self) -> list[Order]:
        return [order for made in self.made for order in made.orders]

    async def perform(self, operation: Operation) -> None:
        """Ask for one thing until it is accepted; the things of one slot one after the other."""
        async with self._turns[operation.slot]:  # waiting tasks get a lock in the order in which they came
            asked_at = time.monotonic()
            made = self._holds.get(operation.slot)
            body = await self._accepted(operation, made)
            if made is None:
                made = self._holds[operation.slot] = Made(body["id"])
                self.made.append(made)
            made.orders.append(Order(operation.do, body["generation"], asked_at))
            made.desired_state = body["desired_state"]
            if operation.do is Do.DELETE:
                del self._holds[operation.slot]

    async def _accepted(self, operation: Operation, made: Made | None) -> dict[str, Any]:
        method, path, options = self._request(operation, made)
        headers = {"Idempotency-Key": operation.key}
        deadline = time.monotonic() + _ACCEPT_SECONDS
        while True:
            answer = "nothing"
            try:
                response = await self._client.api(method, path, headers=headers, **options)
            except httpx.TransportError as error:
                answer = repr(error)
            else:
                answer = f"{response.status_code} {response.text}"
                if response.status_code == 202:
                    body: dict[str, Any] = response.json()
                    return body
                assert response.status_code in {409, 429, 500, 502, 503, 504}, f"{operation}: {answer}"
            assert time.monotonic() < deadline, f"{operation} was not accepted within {_ACCEPT_SECONDS} s: {answer}"
            await asyncio.sleep(_RETRY_SECONDS)

    def _request(self, operation: Operation, made: Made | None) -> tuple[str, str, dict[str, Any]]:
        if made is None:
            assert operation.do is Do.CREATE, operation
            return "POST", "/instances", {"json": self._new(operation.slot)}
        path = f"/instances/{made.id}"
        match operation.do:
            case Do.DELETE:
                return "DELETE", path, {}
            case Do.CHANGE_PLAN:
                return "PATCH", path, {"json": {"plan": next(self._plans), "name": f"chaos {operation.key}"}}
            case Do.UPDATE:
                return "POST", f"{path}/update", {"json": {"image": next(self._images)}}
            case Do.ROTATE:
                return "POST", f"{path}/rotate-token", {}
            case _:
                return "POST", f"{path}/{operation.do}", {}

    def _new(self, slot: int) -> dict[str, Any]:
        return {
            "name": f"chaos {slot}",
            "plan": "pro",
            "image": next(self._images),
            "channel": "telegram",
            "bot_token": BOT_TOKEN,
            "ai_provider": "openai",
            "api_key": API_KEY,
        }

    async def watch(self) -> None:
        """Look at the list again and again, and note when what was asked for is there."""
        while True:
            await self.look()
            await asyncio.sleep(_WATCH_SECONDS)

    async def look(self) -> None:
        """Look at the list once; an API that does not answer is asked again later."""
        before = {made.id: made.generation for made in self.made}
        try:
            response = await self._client.api("GET", "/instances", params={"limit": 200})
        except httpx.TransportError:
            return
        if response.status_code != 200:
            return
        listed = {item["id"]: item for item in response.json()["items"]}
        now = time.monotonic()
        for made in self.made:
            if made.id not in before:
                continue  # it was accepted while the list was on its way
            for order in made.orders:
                if (
                    order.done_at is None
                    and order.generation <= before[made.id]
                    and _done(order, made, listed.get(made.id))
                ):
                    order.done_at = now

    @property
    def waiting(self) -> list[tuple[str, Order]]:
        return [(made.id, order) for made in self.made for order in made.orders if order.done_at is None]


def _done(order: Order, made: Made, view: dict[str, Any] | None) -> bool:
    if view is None:
        return made.desired_state == "deleted"
    if order.do is Do.DELETE:
        return False
    settled = view["phase"] in {"running", "stopped"} and view["progress"] is None
    return settled and (view["observed_generation"] or 0) >= order.generation
