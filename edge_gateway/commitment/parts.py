"""Makes the forward process's part of storage commitment, where anybody may ask for it.

Invariant: a ledger that is damaged is set aside, never in the way of delivery. Must hold no rule.
"""

from __future__ import annotations

import sqlite3

from edge_gateway.commitment.custody_view import CustodyView
from edge_gateway.commitment.desk import CommitmentDesk, DeskParts
from edge_gateway.commitment.ledger import CommitmentLedger
from edge_gateway.commitment.reporter import Reporter
from edge_gateway.commitment.schema import LEDGER_NAME, set_aside_if_damaged
from edge_gateway.forward_health import ForwardHealth
from infra.clock import Clock
from infra.settings import GatewaySettings
from infra.telemetry import Metrics


def commitment_desk(
    gateway: GatewaySettings,
    progress: sqlite3.Connection,
    health: ForwardHealth,
    clock: Clock,
    metrics: Metrics,
) -> CommitmentDesk | None:
    """Who decides requests by the ledger of deliveries; None where nobody may ask."""
    settings, directory = gateway.commitment, gateway.spool.directory
    if not settings.peers:
        return None
    set_aside_if_damaged(directory / LEDGER_NAME)
    custody, ledger = CustodyView(progress), CommitmentLedger(directory)
    return CommitmentDesk(DeskParts(ledger, custody, health, clock, metrics), settings)


def reporter(gateway: GatewaySettings, clock: Clock, metrics: Metrics) -> Reporter | None:
    """Who tells what was decided; None where nobody may ask."""
    if not gateway.commitment.peers:
        return None
    called = gateway.ae_title.strip()
    return Reporter(gateway.spool.directory, called, gateway.commitment, clock, metrics)
