"""Probes instances and publishes verdicts."""
