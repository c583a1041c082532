"""Brings the engines to what this version of Hilum needs: topics, buckets, tables.

Invariant: idempotent, and everything it changes is in its answer; it deletes no data.
"""

from __future__ import annotations

from infra.migrate import migrate
from infra.provision_bucket import provision_bucket
from infra.provision_topics import provision_topics
from infra.settings import Settings


def provision(settings: Settings) -> list[str]:
    """Topics, both sites' buckets and both sites' databases are as they must be.

    Returns one line for each thing changed. Raises RetryableError (an engine is down), FatalError
    (something is there that must not be changed by a program).
    """
    changes = provision_topics(settings.kafka)
    for site in (settings.primary, settings.dr):
        changes += provision_bucket(site)
        changes += [f"{site.name}: {change}" for change in migrate(site.clickhouse)]
    return changes
