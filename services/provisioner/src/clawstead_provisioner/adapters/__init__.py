"""One external system each."""
