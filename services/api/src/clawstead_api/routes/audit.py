"""Who changed what: the audit chain, for the operator alone."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from clawstead_api import supervision
from clawstead_api.audit_views import AuditPage, AuditVerdict
from clawstead_api.routes.access import AtDesk, ByCaller, bearer, problems
from clawstead_shared.ids import INSTANCE_ID_PATTERN

router = APIRouter(prefix="/audit", tags=["audit"], dependencies=[bearer])

Limit = Annotated[int, Query(ge=1, le=1000)]
Number = Annotated[int | None, Query(ge=1, le=2**53, description="`next_before` of the page before")]
Actor = Annotated[str | None, Query(max_length=255)]
Instance = Annotated[str | None, Query(pattern=INSTANCE_ID_PATTERN)]


@router.get("", summary="Show who changed what, newest first; operators only", responses=problems(404))
async def list_audit(
    desk: AtDesk,
    caller: ByCaller,
    actor: Actor = None,
    instance: Instance = None,
    since: AwareDatetime | None = None,
    limit: Limit = 100,
    before: Number = None,
) -> AuditPage:
    wanted = supervision.Wanted(actor=actor, instance_id=instance, since=since)
    return await supervision.audit_page(desk, caller, wanted, limit=limit, before=before)


@router.get(
    "/verify",
    summary="Check the whole audit chain, and name the first record that is not what it was; operators only",
    responses=problems(404),
)
async def verify_audit(desk: AtDesk, caller: ByCaller) -> AuditVerdict:
    return await supervision.audit_verdict(desk, caller)
