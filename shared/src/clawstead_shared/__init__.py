"""Clawstead's wire contract and bus: what every service shares, and nothing else."""

from clawstead_shared.lean_nats import import_nats_alone

# Before any other module of ours can import nats-py the ordinary way.
import_nats_alone()
