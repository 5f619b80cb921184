"""Which image an instance should be made from: pure."""

from dataclasses import replace
from typing import Any

import pytest

from clawstead_provisioner.ports import Container, Status
from clawstead_provisioner.spec import Resources
from clawstead_provisioner.versions import Choice, Trial, choose
from clawstead_shared.events import Desired, ImageVersion, Observed, RejectedImage
from tests.support.factories import make_desired, make_observed, make_spec

INSTANCE = "01jc00000000000000000000aa"


def version(name: str, revision: int, digest: str | None = None) -> ImageVersion:
    return ImageVersion(reference=name, revision=revision, digest=digest)


def wants(name: str, revision: int, *, forced: bool = False) -> Desired:
    return make_desired(INSTANCE, spec=make_spec(INSTANCE, image=name, image_revision=revision, image_forced=forced))


def said(image: ImageVersion | None = None, rejected: ImageVersion | None = None) -> Observed:
    failed = RejectedImage(**rejected.model_dump(), message="broken") if rejected else None
    return make_observed(INSTANCE, image=image, rejected=failed)


A, B = version("a:1", 0, "sha256:a"), version("b:1", 1, "sha256:b")
A_AGAIN = version("a:1", 2, "sha256:a")
B_AGAIN = version("b:1", 2, "sha256:b")
UNLABELLED = Container("c", INSTANCE, Status.RUNNING, "f", 1, "sha256:a", Resources(1, 1, 1))
ON_A = replace(UNLABELLED, image_reference="a:1", image_revision=0)
TRIAL = Trial(good=A, candidate=B)
LOST = TRIAL.model_copy(update={"failure": "it ended"})

ROWS: list[tuple[str, dict[str, Any], Choice]] = [
    ("a new one gets what is wanted", {"desired": wants("a:1", 0)}, Choice(None, version("a:1", 0))),
    ("what it is made from stays", {"desired": wants("a:1", 0), "container": ON_A}, Choice(A, A)),
    (
        "also what was resolved when, and moved since",
        {"desired": wants("a:1", 0), "container": ON_A, "last": said(A), "resolved": version("a:1", 0, "sha256:x")},
        Choice(A, A),
    ),
    (
        "a container that does not say is left",
        {"desired": wants("b:1", 1), "container": UNLABELLED},
        Choice(None, version("b:1", 1)),
    ),
    ("another one must be fetched", {"desired": wants("b:1", 1), "container": ON_A}, Choice(A, A, pending=True)),
    (
        "what was fetched for another wish does not count",
        {"desired": wants("b:1", 2), "container": ON_A, "resolved": B},
        Choice(A, A, pending=True),
    ),
    ("a fetched one is taken", {"desired": wants("b:1", 1), "container": ON_A, "resolved": B}, Choice(A, B)),
    (
        "the same image is no other one",
        {"desired": wants("a:1", 2), "container": ON_A, "resolved": A_AGAIN},
        Choice(A_AGAIN, A_AGAIN),
    ),
    (
        "also when only what was said last knows",
        {"desired": wants("a:1", 2), "container": ON_A, "last": said(A_AGAIN)},
        Choice(A_AGAIN, A_AGAIN),
    ),
    ("without a container, too", {"desired": wants("b:1", 1), "last": said(A)}, Choice(A, A, pending=True)),
    (
        "what it went back from is not taken",
        {"desired": wants("b:1", 1), "container": ON_A, "last": said(A, B)},
        Choice(A, A),
    ),
    (
        "nor the same image under a new wish",
        {"desired": wants("b:1", 2), "container": ON_A, "last": said(A, B), "resolved": B_AGAIN},
        Choice(A, A, refused=True),
    ),
    (
        "except by force",
        {"desired": wants("b:1", 2, forced=True), "container": ON_A, "last": said(A, B), "resolved": B_AGAIN},
        Choice(A, B_AGAIN),
    ),
    (
        "force does not repeat itself",
        {"desired": wants("b:1", 2, forced=True), "container": ON_A, "last": said(A, B_AGAIN), "resolved": B_AGAIN},
        Choice(A, A),
    ),
    (
        "a refusal that was not the image's fault does not count against it",
        {
            "desired": wants("b:1", 2),
            "container": ON_A,
            "last": said(A, version("b:1", 1)),
            "resolved": B_AGAIN,
        },
        Choice(A, B_AGAIN),
    ),
    (
        "a trial knows what it tries after a crash",
        {"desired": wants("b:1", 1), "container": ON_A, "trial": TRIAL},
        Choice(A, B),
    ),
    ("a lost trial leads back", {"desired": wants("b:1", 1), "last": said(B), "trial": LOST}, Choice(B, A)),
    ("whatever is wanted by now", {"desired": wants("c:1", 5), "container": ON_A, "trial": LOST}, Choice(A, A)),
]


@pytest.mark.parametrize(("facts", "choice"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_choice(facts: dict[str, Any], choice: Choice) -> None:
    assert choose(**{"last": None, "container": None, **facts}) == choice
