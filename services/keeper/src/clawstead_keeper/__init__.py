"""Keeps the bus as it is declared, and tells operators what is wrong with it."""
