"""The outside world of the health monitor: gateways over HTTP, the history in SQL."""
