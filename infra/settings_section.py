"""What every group of settings is: immutable, and closed to unknown keys.

Invariant: a misspelt key never passes for one that was left out. Must not know any setting.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
