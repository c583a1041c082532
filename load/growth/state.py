"""What a fill remembers from run to run: how far it is, and what every checkpoint measured.

Invariant: the file is replaced as a whole, so a killed run leaves the state before its last batch,
and repeating that batch writes the same rows. It must not be trusted with another seed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.failures import FatalError

FILE_NAME = "growth.json"


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProbeCost(_Kept):
    """One probe batch: seconds and CPU seconds per instance, both halves written as they come."""

    wall_s: float
    cpu_s: float
    insert_s: float
    compose_s: float

    @property
    def prepare_s(self) -> float:
        """Neither inserting nor composing: describing headers and making columns."""
        return max(self.wall_s - self.insert_s - self.compose_s, 0.0)


class QueryTimes(_Kept):
    """One question: its seconds, one for each key asked."""

    name: str
    seconds: tuple[float, ...]
    rows_median: float


class Checkpoint(_Kept):
    """What was measured at a number of rows. `rows` and `bytes_on_disk` include the probes."""

    rows: int
    rows_wanted: int
    bytes_on_disk: int
    parts: int
    probes: tuple[ProbeCost, ...]
    queries: tuple[QueryTimes, ...]
    # Filling since the checkpoint before, merging in the background included; short headers.
    fill_rows: int
    fill_wall_s: float
    fill_cpu_s: float


class GrowthState(_Kept):
    """How far the fill is."""

    seed: int
    format_version: int = 1
    rows: int = 0
    next_study: int = 0
    # Probes take their studies from a number range of their own.
    next_probe: int = 0
    fill_rows: int = 0
    fill_wall_s: float = 0.0
    fill_cpu_s: float = 0.0
    checkpoints: tuple[Checkpoint, ...] = ()


@dataclass
class StateFile:
    """The state of one directory."""

    directory: Path
    seed: int
    state: GrowthState = field(init=False)

    def __post_init__(self) -> None:
        """Reads what is there. Raises FatalError (another seed, not ours)."""
        path = self.directory / FILE_NAME
        if not path.exists():
            self.state = GrowthState(seed=self.seed)
            return
        try:
            self.state = GrowthState.model_validate_json(path.read_bytes())
        except ValidationError as cause:
            raise FatalError(
                f"reading {path}: it is no state of a fill", "name another state directory"
            ) from cause
        if self.state.seed != self.seed:
            raise FatalError(
                f"the index in {self.directory} was filled with seed {self.state.seed}",
                f"give --seed {self.state.seed}, or another state directory",
            )

    def change(self, **changes: object) -> None:
        """The state with these fields, on disk on return."""
        self.state = self.state.model_copy(update=changes)
        self.directory.mkdir(parents=True, exist_ok=True)
        partial = self.directory / f"{FILE_NAME}.partial"
        partial.write_text(self.state.model_dump_json(indent=1), encoding="utf-8")
        os.replace(partial, self.directory / FILE_NAME)
