"""Makes containers match the desired state."""
