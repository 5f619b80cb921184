"""The outside world of the terminal gateway: the container engine, the bus's buckets, the journal on disk."""
