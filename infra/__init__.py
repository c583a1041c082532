"""The engines behind small seams: Kafka, S3, ClickHouse, clock, settings and telemetry.

Invariant: the only package that imports an engine's client library; every exception of theirs
leaves here as one of the three failure classes.
"""
