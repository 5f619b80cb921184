"""Runs nginx, its map of instances and its certificates."""
