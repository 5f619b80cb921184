"""Settings refuse a data directory whose path is long."""

from tests.support.short_path import tmp_path

__all__ = ["tmp_path"]
