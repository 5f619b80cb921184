"""What the keeper knows of NATS."""
