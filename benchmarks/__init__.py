"""Measurements: each script prints a table or a ratio, and asserts nothing."""
