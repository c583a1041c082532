"""The real engines of the local stack: how each is obtained, configured and started.

Holds no data of its own. It must not be needed where Kafka, S3 and ClickHouse already run.
"""
