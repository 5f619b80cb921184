"""The OpenAPI document: complete, stable, and honest about refusals."""

from typing import Any

from clawstead_api.app import openapi_document

DOCUMENT = openapi_document()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_public_routes_are_all_there() -> None:
    instance = "/api/v1/instances/{instance_id}"
    assert {(method, path) for method, path, _ in operations()} == {
        ("post", "/api/v1/instances"),
        ("get", "/api/v1/instances"),
        ("get", instance),
        ("patch", instance),
        ("delete", instance),
        ("post", f"{instance}/start"),
        ("post", f"{instance}/stop"),
        ("post", f"{instance}/restart"),
        ("post", f"{instance}/update"),
        ("post", f"{instance}/rotate-token"),
        ("post", f"{instance}/terminal"),
        ("post", f"{instance}/dashboard-link"),
        ("get", f"{instance}/events"),
        ("get", f"{instance}/events/stream"),
        ("get", f"{instance}/health"),
        ("get", "/api/v1/events"),
        ("get", "/api/v1/plans"),
        ("get", "/api/v1/audit"),
        ("get", "/api/v1/audit/verify"),
        ("get", f"{instance}/logs"),
    }


def test_every_route_is_described_secured_and_says_how_it_refuses() -> None:
    for method, path, operation in operations():
        assert operation["summary"], (method, path)
        assert operation["security"], (method, path)
        for status in ("401", "422", "503"):
            content = operation["responses"][status]["content"]
            assert list(content) == ["application/problem+json"], (method, path, status)


def test_no_reference_dangles() -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        return [ref for value in node for ref in references(value)] if isinstance(node, list) else []

    schemas = DOCUMENT["components"]["schemas"]
    assert {ref.rpartition("/")[2] for ref in references(DOCUMENT)} <= set(schemas)
    assert "HTTPValidationError" not in schemas


def test_the_document_is_the_same_every_time() -> None:
    assert openapi_document() == DOCUMENT
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
