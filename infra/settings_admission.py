"""The settings of one admit rule: who may associate, and what 0x0000 means to him.

Invariant: no rule can ask for less than the gateway's own flushed disk.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, IPvAnyNetwork

from infra.certificate_names import CertificateIdentity
from infra.settings_section import Section

MINUTE_MS = 60_000


class AdmitRule(Section):
    """Who may associate: a calling AE title (`*` for any) from a network, as a called AE title.

    With `certificate`, only with a client certificate that one of its entries names. `level` is
    what has to hold an instance before 0x0000; one above `disk` that is not reached in
    `answer_within_ms` is answered 0xA700.
    """

    calling_ae_title: str = Field(min_length=1, max_length=16)
    network: IPvAnyNetwork
    called_ae_title: str | None = Field(default=None, max_length=16)
    certificate: tuple[CertificateIdentity, ...] = ()
    associations_max: int = Field(default=64, ge=1, le=256)
    mismatch: Literal["accept", "refuse"] = "accept"
    level: Literal["disk", "mirror", "kafka", "archive"] = "disk"
    answer_within_ms: int = Field(default=10_000, ge=100, le=10 * MINUTE_MS)
