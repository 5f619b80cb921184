"""What an installation of an earlier version holds is carried over."""

import base64
import json
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from alembic import command

from clawstead_api import schema
from clawstead_api.database import Database
from clawstead_api.tables import Instance, Secret, Table
from clawstead_shared.ids import new_instance_id
from tests.support.api import OWNER, Api
from tests.support.factories import make_limits, make_spec

IDS = [new_instance_id(), new_instance_id()]
IMAGES = dict(zip(IDS, ["openclaw:local", "theirs:1"], strict=True))
SEALED = b"\xffsealed as one"


def as_first_version(connection: sa.Connection) -> None:
    """Leave a database as the first version did, with two instances."""
    Table.metadata.drop_all(connection)
    connection.execute(sa.text("DROP TABLE alembic_version"))
    command.upgrade(schema.alembic_config(connection), "0001")
    instance = {
        "owner_id": OWNER,
        "name": "claw",
        "plan": "pro",
        "state": "running",
        "now": "2026-01-01 00:00:00+00:00",
        "sealed": SEALED,
    }
    for instance_id, image in IMAGES.items():
        spec = make_spec(instance_id, image=image, limits=make_limits(cpus=0.5, memory_bytes=3 * 1024**3))
        stored = spec.model_dump(mode="json", exclude={"image_revision", "image_forced"})
        values = {**instance, "id": instance_id, "spec": json.dumps(stored)}
        now = ":now" if connection.dialect.name == "sqlite" else "now()"
        connection.execute(
            sa.text(
                "INSERT INTO instance (id, owner_id, name, plan, subdomain, desired_state, generation, spec,"
                " secret_revision, restart_count, created_at, updated_at)"
                f" VALUES (:id, :owner_id, :name, :plan, :id, :state, 1, :spec, 1, 0, {now}, {now})"
            ),
            values,
        )
        connection.execute(
            sa.text(
                "INSERT INTO secret (instance_id, owner_id, revision, sealed, gateway_token)"
                " VALUES (:id, :owner_id, 1, :sealed, :sealed)"
            ),
            values,
        )


@pytest.fixture
async def upgraded(database: Database) -> Database:
    await database.on_connection(as_first_version)
    await schema.upgrade(database)
    return database


async def rows(database: Database, table: Any) -> list[Any]:
    async with database.read() as session:
        return [await session.get_one(table, instance_id) for instance_id in IDS]


async def test_limits_and_named_images_are_carried_over(upgraded: Database) -> None:
    instances: list[Instance] = await rows(upgraded, Instance)
    assert [instance.own_image for instance in instances] == [None, "theirs:1"]
    assert [(instance.cpus, instance.memory_bytes) for instance in instances] == [(0.5, 3 * 1024**3)] * 2
    assert [instance.hidden_at for instance in instances] == [None, None]


async def test_secrets_sealed_as_one_are_kept_beside_what_replaces_a_part(upgraded: Database, api: Api) -> None:
    secrets: list[Secret] = await rows(upgraded, Secret)
    assert [base64.b64decode(json.loads(secret.sealed)["all"]) for secret in secrets] == [SEALED] * 2
    async with api.client() as client:
        body = {"channel": "discord", "bot_token": "b-1"}
        assert (await client.patch(f"/instances/{IDS[0]}", json=body)).status_code == 202
    await api.settle()
    parts = json.loads(api.buckets.secrets[IDS[0]])
    assert set(parts) == {"all", "bot_token", "owner_copy"}
    assert base64.b64decode(parts["all"]) == SEALED


async def test_an_instance_of_the_first_version_is_commanded_like_any_other(upgraded: Database, api: Api) -> None:
    assert upgraded is api.database
    async with api.client() as client:
        for path in ("restart", "update", "rotate-token", "stop", "start"):
            response: httpx.Response = await client.post(f"/instances/{IDS[1]}/{path}")
            assert response.status_code == 202, path
        assert response.json()["image"] == "theirs:1"


async def test_the_last_step_can_be_taken_back(upgraded: Database) -> None:
    await upgraded.on_connection(lambda connection: command.downgrade(schema.alembic_config(connection), "0002"))
    with pytest.raises(schema.SchemaOutdatedError):
        await schema.require_newest(upgraded)
    await schema.upgrade(upgraded)
    assert [instance.cpus for instance in await rows(upgraded, Instance)] == [0.5, 0.5]
