"""What the acceptor tells a worker at its start: who it is, and the settings that are in force.

Invariant: a worker that begins anew has the settings of the acceptor, not those of a file that
was edited meanwhile. Holds no secret: keys are named by their files.
"""

from __future__ import annotations

from typing import Literal

from edge_gateway.association import AssociationLimits
from infra.settings import GatewaySettings
from infra.settings_section import Section

LogLevel = Literal["debug", "info", "warning", "error"]


class WorkerOrder(Section):
    """One worker's start. `workers` is how many there are, `parent` the acceptor's process id."""

    gateway_name: str
    number: int
    workers: int
    parent: int
    log_level: LogLevel
    gateway: GatewaySettings
    limits: AssociationLimits
