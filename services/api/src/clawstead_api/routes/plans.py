"""The plans on offer."""

from fastapi import APIRouter

from clawstead_api.plans import Plan
from clawstead_api.routes.access import AtDesk, bearer, problems

router = APIRouter(tags=["plans"], dependencies=[bearer])


@router.get("/plans", summary="List the plans and what each includes", responses=problems())
async def list_plans(desk: AtDesk) -> dict[str, Plan]:
    return desk.plans.root
