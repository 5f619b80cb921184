"""Clawstead's wire contract and bus: what every service shares, and nothing else."""
