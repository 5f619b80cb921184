"""WebSocket to a shell in an instance."""
