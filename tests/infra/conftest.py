"""Fixtures of the engines' clients: the two object stores."""

from tests.infra.s3_stores import s3_settings, store, versitygw

__all__ = ["s3_settings", "store", "versitygw"]
