"""What the span of a request says of it."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from clawstead_api.middleware import RequestContext


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("done")(scope, receive, send)


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([(b"x-request-id", b"from-the-edge"), (b"x-forwarded-for", b"203.0.113.9")], "203.0.113.9"),
        ([(b"x-request-id", b"from-the-edge")], "127.0.0.7"),
    ],
)
async def test_a_span_names_the_request_and_the_client(headers: list[tuple[bytes, bytes]], client: str) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": ("127.0.0.7", 1)}
    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        await RequestContext(answer)(scope, receive, send)
    assert isinstance(span, ReadableSpan)
    assert span.attributes
    assert span.attributes["http.request.header.x-request-id"] == ("from-the-edge",)
    assert span.attributes["client.address"] == client
    assert (b"x-request-id", b"from-the-edge") in sent[0]["headers"]
