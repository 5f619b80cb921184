"""``clawstead instances``: what customers have, created, looked at, started, stopped and deleted."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from clawstead_cli.api_access import api_of
from clawstead_cli.arrival import Order
from clawstead_cli.commands.following import START_SECONDS, follow, tell
from clawstead_cli.commands.options import AsJson, DataDir, InstanceRef, Timeout, Token, Url, Wait
from clawstead_cli.console import print_table, stderr, stdout
from clawstead_cli.errors import UsageError
from clawstead_cli.instance import DELETED, FAILED, RUNNING, STOPPED, Instance
from clawstead_cli.instance_tables import document, list_table, page
from clawstead_cli.instances import Instances
from clawstead_cli.secret_input import SecretInput

instances = typer.Typer(
    no_args_is_help=True, help="Create, list, show, start, stop and delete instances. Needs the API."
)

_STOP_SECONDS = 480.0

BotToken = Annotated[
    str | None,
    typer.Option(help="Better: CLAWSTEAD_BOT_TOKEN, --bot-token-file, or wait to be asked.", show_default=False),
]
ApiKey = Annotated[
    str | None,
    typer.Option(help="Better: CLAWSTEAD_API_KEY, --api-key-file, or wait to be asked.", show_default=False),
]
SecretFile = Annotated[Path | None, typer.Option(dir_okay=False, help="File that holds it.", show_default=False)]


@instances.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="How its owner calls it.")],
    plan: Annotated[str, typer.Option(help="What it may use; GET /plans lists them.")],
    subdomain: Annotated[str | None, typer.Option(help="First label of its hostname.", show_default="its id")] = None,
    channel: Annotated[str | None, typer.Option(help="Chat network: telegram or discord.")] = None,
    bot_token: BotToken = None,
    bot_token_file: SecretFile = None,
    ai_provider: Annotated[str | None, typer.Option(help="anthropic, openai, gemini or openrouter.")] = None,
    api_key: ApiKey = None,
    api_key_file: SecretFile = None,
    image: Annotated[str | None, typer.Option(help="Container image.", show_default="the platform's")] = None,
    wait: Wait = True,
    timeout: Timeout = START_SECONDS,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create an instance and wait until it runs.

    With --channel its bot token is needed, with --ai-provider its API key. Exit code 1 when the API refuses, the
    instance fails, or it does not run in time; it goes on then, and `instances show` tells how far it is.
    """
    known = Instances(api_of(data_dir, url, token))
    request = {"name": name, "plan": plan, "subdomain": subdomain, "channel": channel, "ai_provider": ai_provider}
    if channel:
        source = SecretInput("bot token", "--bot-token", "CLAWSTEAD_BOT_TOKEN", bot_token, bot_token_file)
        request["bot_token"] = source.read()
    if ai_provider:
        request["api_key"] = SecretInput("API key", "--api-key", "CLAWSTEAD_API_KEY", api_key, api_key_file).read()
    given = {field: value for field, value in {**request, "image": image}.items() if value is not None}
    made = known.create(given)
    if wait:
        stderr.print(f"accepted: {made.id}")
        made = follow(known, Order(made.id, RUNNING, made.generation), timeout, as_json=as_json) or made
    tell(made, f"runs at {made.url}" if wait else f"is accepted, it will be at {made.url}", as_json=as_json)


@instances.command(name="list")
def list_(
    *,
    phase: Annotated[str | None, typer.Option(help="Only those in this phase.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List instances, newest first."""
    found = Instances(api_of(data_dir, url, token)).everyone(phase=phase)
    if as_json:
        stdout.print_json(data={"instances": [document(instance) for instance in found]})
    elif found:
        print_table(list_table(found))
    else:
        stdout.print("There are no instances." if phase is None else f"No instance is {phase}.", markup=False)


@instances.command()
def show(
    instance: InstanceRef,
    *,
    show_token: Annotated[bool, typer.Option("--show-token", help="Also show the gateway's token.")] = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show one instance: where it is, how far it is, and what is wrong with it."""
    found = Instances(api_of(data_dir, url, token)).find(instance)
    if as_json:
        stdout.print_json(data=document(found, show_token=show_token))
    else:
        print_table(page(found, show_token=show_token))


@instances.command()
def start(
    instance: InstanceRef,
    *,
    wait: Wait = True,
    timeout: Timeout = START_SECONDS,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Start an instance and wait until it runs; one that failed is tried again. Running already is success."""
    known = Instances(api_of(data_dir, url, token))
    _bring(known, known.find(instance), RUNNING, timeout if wait else None, as_json=as_json)


@instances.command()
def stop(
    instance: InstanceRef,
    *,
    wait: Wait = True,
    timeout: Timeout = _STOP_SECONDS,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Stop an instance and wait until it has stopped. Its data stays. Stopped already is success."""
    known = Instances(api_of(data_dir, url, token))
    _bring(known, known.find(instance), STOPPED, timeout if wait else None, as_json=as_json)


@instances.command()
def delete(
    instance: InstanceRef,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for its name first.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Gone for its owner at once, whatever can be removed.")
    ] = False,
    wait: Wait = True,
    timeout: Timeout = _STOP_SECONDS,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Delete an instance with all its data, and wait until it is gone. Asks for its name first."""
    known = Instances(api_of(data_dir, url, token))
    found = known.find(instance)
    if not yes:
        _confirm(found)
    ordered = known.delete(found, force=force)
    if wait and not force:
        follow(known, Order(found.id, DELETED, ordered.generation), timeout, as_json=as_json)
    tell(ordered, "is deleted" if wait or force else "is being deleted", as_json=as_json, gone=wait or force)


def _confirm(instance: Instance) -> None:
    if not sys.stdin.isatty():
        raise UsageError("deleting removes all data of the instance and asks first", hint="--yes answers")
    typed = typer.prompt(f"This removes {instance.name} ({instance.id}) and all its data. Its name", err=True)
    if typed != instance.name:
        raise UsageError(f"that is not its name; {instance.name} was not touched")


def _bring(known: Instances, found: Instance, goal: str, timeout: float | None, *, as_json: bool) -> None:
    verb = {RUNNING: "start", STOPPED: "stop"}[goal]
    if found.desired_state == goal and found.phase == goal:
        tell(found, f"is {goal} already", as_json=as_json, changed=False)
        return
    under_way = found.desired_state == goal and found.phase != FAILED
    ordered = found if under_way else known.order(found, verb)
    if timeout is not None:
        ordered = follow(known, Order(found.id, goal, ordered.generation), timeout, as_json=as_json) or ordered
        tell(ordered, f"is {goal}", as_json=as_json, changed=not under_way)
    else:
        said = "is on its way already" if under_way else f"is asked to {verb}"
        tell(ordered, said, as_json=as_json, changed=not under_way)
