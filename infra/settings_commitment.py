"""The settings of storage commitment: who may ask, how strong the answer is, where it goes.

Invariant: whoever may ask can be answered: a peer without an address is an error at the start and
never a report that nobody gets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from infra.settings_section import Section

KIB = 1024
MIB = 1024 * KIB
HOUR_S = 3600
DAY_S = 24 * HOUR_S


class CommitmentTls(Section):
    """TLS towards a peer's listener: whom we believe, and our own client certificate."""

    ca_file: Path
    certificate_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _certificate_and_key_together(self) -> CommitmentTls:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        return self


class CommitmentPeer(Section):
    """A calling AE title that may ask for storage commitment, and the listener of its report."""

    ae_title: str = Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")
    host: str | None = Field(default=None, min_length=1)
    port: int | None = Field(default=None, ge=1, le=65_535)
    # What has to hold an instance before it is called committed: the archive, or both sites.
    strength: Literal["archive", "dr"] = "archive"
    tls: CommitmentTls | None = None

    @model_validator(mode="after")
    def _has_an_address(self) -> CommitmentPeer:
        if self.host is None or self.port is None:
            raise ValueError(
                f"{self.ae_title!r} may ask for storage commitment but has no host and port:"
                " name the listener that its report is sent to"
            )
        return self


class CommitmentSettings(Section):
    """Storage commitment (PS3.4 J): nobody may ask until `peers` names them."""

    peers: tuple[CommitmentPeer, ...] = ()
    references_max: int = Field(default=10_000, ge=1, le=100_000)
    request_bytes_max: int = Field(default=2 * MIB, ge=4 * KIB, le=32 * MIB)
    open_requests_max: int = Field(default=1_000, ge=1, le=100_000)
    # What is received and not yet archived is waited for so long before it is called failed.
    wait_s: int = Field(default=600, ge=0, le=DAY_S)
    # A report that its peer does not take is tried again for so long.
    retry_for_s: int = Field(default=3 * DAY_S, ge=60, le=30 * DAY_S)
    # What is known of instances that left the spool, and of finished requests.
    kept_days: int = Field(default=90, ge=1, le=3650)

    @model_validator(mode="after")
    def _each_peer_once(self) -> CommitmentSettings:
        titles = [peer.ae_title.strip() for peer in self.peers]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise ValueError(f"peers names {', '.join(map(repr, twice))} more than once")
        return self

    def peer(self, ae_title: str) -> CommitmentPeer | None:
        """The peer that calls itself so, without padding; None where it may not ask."""
        return next((peer for peer in self.peers if peer.ae_title.strip() == ae_title), None)
