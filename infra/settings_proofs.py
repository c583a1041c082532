"""The settings of the custody proof: the key that signs, and how often.

Invariant: nothing here can make a proof weaker, only later.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from infra.settings_section import Section

HOUR_S = 3600


class ProofSettings(Section):
    """The custody proof: `key_file` (Ed25519, PEM, for its owner only) is needed to write it."""

    key_file: Path | None = None
    # A signed root covers what came since the last one; sooner when this many leaves did.
    root_interval_s: float = Field(default=HOUR_S, gt=0, le=24 * HOUR_S)
    root_leaves_max: int = Field(default=100_000, ge=1, le=1_000_000)
