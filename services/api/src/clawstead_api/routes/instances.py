"""Instances: create, list, show, change, command, delete, and the tickets to reach into one."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, StringConstraints

from clawstead_api import handlers, orders, supervision
from clawstead_api.desk import Caller, Desk
from clawstead_api.lifecycle import Command
from clawstead_api.repository import Filters
from clawstead_api.requests import ChangeInstance, CreateInstance, UpdateInstance
from clawstead_api.routes.access import AtDesk, ByCaller, ByCallerOnce, InstanceId, bearer, problems
from clawstead_api.tickets import Ticket
from clawstead_api.views import InstanceDetail, InstancePage, InstanceView
from clawstead_shared.control import MAX_LOG_LINES, InstanceLogs
from clawstead_shared.events import DesiredState, Phase
from clawstead_shared.ids import INSTANCE_ID_PATTERN
from clawstead_shared.tickets import Purpose

router = APIRouter(prefix="/instances", tags=["instances"], dependencies=[bearer])

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(pattern=INSTANCE_ID_PATTERN, description="`next_cursor` of the page before")]
Force = Annotated[
    bool,
    Query(description="Do not wait for anything: the instance is gone for its owner at once, whatever can be removed"),
]
Tail = Annotated[int, Query(ge=1, le=MAX_LOG_LINES, description="How many lines at most")]
Text = Annotated[str | None, StringConstraints(max_length=64), Query()]

_UPDATE = UpdateInstance()


class TerminalTicket(BaseModel):
    """What opens one terminal session."""

    ticket: str
    url: str
    expires_at: datetime


class DashboardLink(BaseModel):
    """A link that opens the instance's dashboard, once."""

    url: str
    expires_at: datetime


@router.post(
    "",
    status_code=202,
    summary="Create an instance",
    responses={202: {"description": "Accepted; follow `Location` or the event stream"}, **problems(400, 409, 413)},
)
async def create(request: CreateInstance, response: Response, desk: AtDesk, caller: ByCallerOnce) -> InstanceView:
    return _located(response, await handlers.create(desk, caller, request))


@router.get("", summary="List instances, newest first", responses=problems())
async def list_instances(
    desk: AtDesk,
    caller: ByCaller,
    limit: Limit = 50,
    cursor: Cursor = None,
    phase: Phase | None = None,
    desired_state: DesiredState | None = None,
    plan: Text = None,
    name: Text = None,
) -> InstancePage:
    filters = Filters(phase=phase, desired_state=desired_state, plan=plan, name=name)
    return await handlers.listed(desk, caller, filters, limit=limit, cursor=cursor)


@router.get("/{instance_id}", summary="Show an instance, with its gateway token", responses=problems(404))
async def show(instance_id: InstanceId, desk: AtDesk, caller: ByCaller) -> InstanceDetail:
    return await handlers.show(desk, caller, instance_id)


@router.patch(
    "/{instance_id}",
    status_code=202,
    summary="Change an instance's name, plan, channel or provider",
    responses=problems(400, 404, 409, 413),
)
async def change(
    instance_id: InstanceId, request: ChangeInstance, response: Response, desk: AtDesk, caller: ByCaller
) -> InstanceView:
    return _located(response, await handlers.change(desk, caller, instance_id, request))


@router.delete("/{instance_id}", status_code=202, summary="Delete an instance and its data", responses=problems(404))
async def delete(
    instance_id: InstanceId, response: Response, desk: AtDesk, caller: ByCaller, force: Force = False
) -> InstanceView:
    if force:
        return await orders.delete_by_force(desk, caller, instance_id)
    return _located(response, await orders.command(desk, caller, instance_id, Command.DELETE))


@router.post("/{instance_id}/start", status_code=202, summary="Start an instance", responses=problems(404, 409))
async def start(instance_id: InstanceId, response: Response, desk: AtDesk, caller: ByCallerOnce) -> InstanceView:
    return _located(response, await orders.command(desk, caller, instance_id, Command.START))


@router.post("/{instance_id}/stop", status_code=202, summary="Stop an instance", responses=problems(404, 409))
async def stop(instance_id: InstanceId, response: Response, desk: AtDesk, caller: ByCallerOnce) -> InstanceView:
    return _located(response, await orders.command(desk, caller, instance_id, Command.STOP))


@router.post(
    "/{instance_id}/restart",
    status_code=202,
    summary="Restart the container start that is seen now",
    responses=problems(404, 409),
)
async def restart(instance_id: InstanceId, response: Response, desk: AtDesk, caller: ByCallerOnce) -> InstanceView:
    return _located(response, await orders.command(desk, caller, instance_id, Command.RESTART))


@router.post(
    "/{instance_id}/update",
    status_code=202,
    summary="Take the image that is current by now, or another one; goes back by itself if it does not work",
    responses=problems(400, 404, 409, 413),
)
async def update(
    instance_id: InstanceId,
    response: Response,
    desk: AtDesk,
    caller: ByCallerOnce,
    request: UpdateInstance = _UPDATE,
) -> InstanceView:
    return _located(response, await orders.update(desk, caller, instance_id, request))


@router.post(
    "/{instance_id}/rotate-token",
    status_code=202,
    summary="Give an instance a new gateway token; `GET` shows it at once",
    responses=problems(404, 409),
)
async def rotate_token(instance_id: InstanceId, response: Response, desk: AtDesk, caller: ByCallerOnce) -> InstanceView:
    return _located(response, await orders.rotate_token(desk, caller, instance_id))


@router.post(
    "/{instance_id}/terminal",
    status_code=201,
    summary="Get a single-use ticket for a terminal session",
    responses=problems(404, 409),
)
async def open_terminal(instance_id: InstanceId, response: Response, desk: AtDesk, caller: ByCaller) -> TerminalTicket:
    ticket = await _ticket(desk, caller, instance_id, Purpose.TERMINAL, response)
    url = f"wss://{desk.edge.domain}{desk.edge.public_port_suffix}/ws/terminal"
    return TerminalTicket(ticket=ticket.token, url=url, expires_at=ticket.expires_at)


@router.post(
    "/{instance_id}/dashboard-link",
    status_code=201,
    summary="Get a single-use link that opens the instance's dashboard",
    responses=problems(404, 409),
)
async def open_dashboard(instance_id: InstanceId, response: Response, desk: AtDesk, caller: ByCaller) -> DashboardLink:
    ticket = await _ticket(desk, caller, instance_id, Purpose.DASHBOARD, response)
    # In the fragment, which browsers keep to themselves: it reaches no server, log or Referer header.
    return DashboardLink(url=f"{desk.edge.base_url}/open#ticket={ticket.token}", expires_at=ticket.expires_at)


async def _ticket(desk: Desk, caller: Caller, instance_id: str, purpose: Purpose, response: Response) -> Ticket:
    response.headers["Cache-Control"] = "no-store"
    return await handlers.ticket(desk, caller, instance_id, purpose)


@router.get(
    "/{instance_id}/logs",
    summary="Show the newest lines that an instance's container wrote",
    responses=problems(404),
)
async def show_logs(instance_id: InstanceId, desk: AtDesk, caller: ByCaller, tail: Tail = 100) -> InstanceLogs:
    return await supervision.logs(desk, caller, instance_id, tail=tail)


def _located(response: Response, view: InstanceView) -> InstanceView:
    response.headers["Location"] = f"/api/v1/instances/{view.id}"
    return view
