"""Fixtures of the engines' clients: the two object stores, and topics of a module's own."""

from tests.infra.bus_records import kafka
from tests.infra.s3_stores import s3_settings, store, versitygw

__all__ = ["kafka", "s3_settings", "store", "versitygw"]
