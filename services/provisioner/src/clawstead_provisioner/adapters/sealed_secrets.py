"""Reads sealed secrets from the bus's key-value bucket, and publishes the key that they are sealed to."""

from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from clawstead_provisioner.vault import InstanceSecrets, SealingKey
from clawstead_shared.errors import TransientError
from clawstead_shared.events import SecretRef
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import KEYS_BUCKET, SEALING_KEY, SECRETS_BUCKET


class SealedSecrets:
    """Keeps ``Secrets``."""

    def __init__(self, bus: Bus, key: SealingKey) -> None:
        self._bus = bus
        self._key = key
        self._bucket: KeyValue | None = None

    async def fetch(self, ref: SecretRef) -> InstanceSecrets | None:
        """See ``Secrets.fetch``."""
        bucket = self._bucket = self._bucket or await self._bus.bucket(SECRETS_BUCKET)
        sealed = await _value(bucket, ref.key)
        return None if sealed is None else self._key.open(sealed)


async def publish_sealing_key(bus: Bus, key: SealingKey) -> None:
    """Let the API know the public key, unless it does already.

    Raises:
        TransientError: the bus did not answer.
    """
    bucket = await bus.bucket(KEYS_BUCKET)
    if await _value(bucket, SEALING_KEY) == key.public:
        return
    try:
        await bucket.put(SEALING_KEY, key.public)
    except (NatsError, OSError, TimeoutError) as error:
        raise TransientError(f"the sealing key was not published: {error}") from error


async def _value(bucket: KeyValue, key: str) -> bytes | None:
    try:
        return (await bucket.get(key)).value
    except KeyNotFoundError:
        return None
    except (NatsError, OSError, TimeoutError) as error:
        raise TransientError(f"secrets: bus did not answer ({type(error).__name__})") from error
