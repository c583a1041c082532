"""The certificates that the settings name, as `operations/certs.py` judges them.

Invariant: reads files only; where nothing is encrypted there is nothing to say here.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_gateway.association.certificate_watch import EXPIRY_WARNING
from infra.settings import Settings
from operations.certs import expiring
from operations.findings import Check, Finding


def certificate_checks(settings: Settings) -> list[Check]:
    """One check for all certificate files and keys."""
    expected = f"holds for {EXPIRY_WARNING.days} days at least"

    def ask() -> Iterator[Finding]:
        for found in expiring(settings):
            yield Finding(
                subject="certificates",
                check=found.setting,
                verdict=found.level,
                seen=f"{found.file}: {found.seen}",
                expected=expected,
                fix=found.next_step,
            )

    return [Check("certificates", "files", expected, "./hilum certs show", ask)]
