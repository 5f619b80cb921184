"""Settings of the keeper."""

from datetime import timedelta

from pydantic import Field

from clawstead_shared.settings import Seconds, ServiceSettings


class KeeperSettings(ServiceSettings):
    """Read from the environment, prefix ``CLAWSTEAD_``; durations are in seconds."""

    keeper_port: int = Field(default=8705, ge=0, le=65535)
    keeper_interval: Seconds = Field(default=timedelta(seconds=3), gt=timedelta(0))
    """Between two looks at the bus."""
    keeper_lag_limit: Seconds = Field(default=timedelta(minutes=5), gt=timedelta(0))
    """How old the oldest event that a consumer has not taken may get before operators are told."""
    keeper_gap_grace: Seconds = Field(default=timedelta(seconds=15), ge=timedelta(0))
    """How long a missing event may still come before it is a gap."""
    keeper_dead_letter_pause: Seconds = Field(default=timedelta(seconds=10), ge=timedelta(0))
    """How long dead letters are collected before operators are told of them together."""
