"""Fixtures for every test: the real engines, under names that tests do not share."""

from tests.engines import engine_settings, engines

__all__ = ["engine_settings", "engines"]
