"""The quotas of AE titles: how much of each is in a gateway's spool and not archived.

Invariant: says what the forward process said last, and reads nothing but that.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_gateway.admission import ANY
from edge_gateway.quotas import has_quota
from edge_gateway.spool import FileSystem
from edge_gateway.spool.layout import SpoolLayout, read_identity
from edge_gateway.unarchived import read_unarchived
from infra.settings import GatewaySettings, Settings
from infra.settings_admission import AdmitRule
from operations.answers import size_text
from operations.findings import Check, Finding, Verdict, judge

# How much of a quota may be taken before somebody should look.
FULL_SHARE = 0.8


def quota_checks(settings: Settings) -> list[Check]:
    """One check for each gateway that has a quota."""

    def check(name: str, gateway: GatewaySettings) -> Check:
        return Check(
            f"quotas {name}",
            "unarchived_bytes_max",
            "a spool that can be read",
            "./hilum status",
            lambda: _examine(name, gateway),
        )

    return [
        check(name, gateway)
        for name, gateway in settings.gateways.items()
        if has_quota(gateway.admit)
    ]


def _examine(name: str, gateway: GatewaySettings) -> Iterator[Finding]:
    directory = gateway.spool.directory
    identity = read_identity(FileSystem(), SpoolLayout(directory)) if directory.exists() else None
    gateway_id = identity.gateway_id if identity else ""
    sizes = read_unarchived(directory, gateway_id).size_bytes
    for rule in gateway.admit:
        if rule.unarchived_bytes_max is None:
            continue
        title = rule.calling_ae_title.strip()
        # The rule for any speaks of each by itself: the one that has most here is told.
        has_most = max(sizes, key=lambda one: sizes[one], default=title)
        told = has_most if title == ANY else title
        yield _judged(name, told, sizes.get(told, 0), rule)


def _judged(name: str, title: str, size_bytes: int, rule: AdmitRule) -> Finding:
    bytes_max = rule.unarchived_bytes_max or 0
    verdict: Verdict = "ok"
    if size_bytes >= FULL_SHARE * bytes_max:
        verdict = "warning"
    if size_bytes >= bytes_max:
        verdict = "error"
    return judge(
        f"quotas {name}",
        title,
        verdict,
        f"{size_text(size_bytes)} in the spool and not archived",
        (
            f"less than {FULL_SHARE:.0%} of {size_text(bytes_max)}",
            "./hilum status   (is it publishing?), or raise the rule's unarchived_bytes_max",
        ),
    )
