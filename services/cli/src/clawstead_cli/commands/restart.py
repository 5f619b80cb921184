"""``clawstead restart``: a fresh start of one instance's gateway."""

from clawstead_cli.api_access import api_of
from clawstead_cli.arrival import Order
from clawstead_cli.commands.following import START_SECONDS, follow, tell
from clawstead_cli.commands.options import AsJson, DataDir, InstanceRef, Timeout, Token, Url, Wait
from clawstead_cli.instance import RUNNING
from clawstead_cli.instances import Instances


def restart(
    instance: InstanceRef,
    *,
    wait: Wait = True,
    timeout: Timeout = START_SECONDS,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Restart one instance and wait until it runs again. Needs the API.

    Exit code 0 when it runs, 1 when it failed, is stopped, or does not run in time.
    """
    known = Instances(api_of(data_dir, url, token))
    ordered = known.order(known.find(instance), "restart")
    if wait:
        ordered = follow(known, Order(ordered.id, RUNNING, ordered.generation), timeout, as_json=as_json) or ordered
    tell(ordered, "runs again" if wait else "is asked to restart", as_json=as_json)
