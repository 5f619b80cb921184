"""Streams that a server without users kept, under a server with users."""

from clawstead_cli.bus_store import adopt_store
from clawstead_cli.settings import Settings
from clawstead_shared import topology
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.factories import desired_event, make_desired
from tests.support.secured_bus import SecuredBus


async def test_what_was_stored_before_there_were_users_is_still_there() -> None:
    event = desired_event(make_desired())
    with SecuredBus() as secured:
        with_users = secured.server.config
        nats_dir = secured.seed_file("operator").parents[1]
        secured.server.config = f'listen: "127.0.0.1:{secured.server.port}"\njetstream {{ store_dir: "{nats_dir}" }}\n'
        secured.server.start()
        before = Bus("test", BusSettings(nats_url=secured.server.url))
        await before.connect()
        await topology.apply(before.jetstream)
        await before.publish(event)
        await before.close()
        secured.server.stop()
        assert Settings(data_dir=nats_dir.parent).nats_dir == nats_dir
        assert adopt_store(nats_dir)
        secured.server.config = with_users
        secured.server.start()
        after = secured.bus("operator")
        await after.connect()
        assert {change.outcome for change in await topology.apply(after.jetstream)} == {"unchanged"}
        found = await after.newest(event.topic, event.instance_id)
        assert found is not None
        assert found.id == event.id
        await after.close()
