"""What fills remember from run to run: how far each index is, and what filling it cost.

Invariant: the file is replaced as a whole, so a killed run leaves the state before its last batch,
and repeating that batch writes the same rows. It must not be trusted with another seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.failures import FatalError

FILE_NAME = "growth.json"


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FillSlice(_Kept):
    """A stretch of a fill: CPU and wall seconds between two numbers of rows.

    CPU seconds are the writer's and the engine's, merging in the background included. `paused`
    stretches were interrupted, so what merged meanwhile is not in them.
    """

    rows_from: int
    rows_to: int
    wall_s: float
    cpu_s: float
    is_whole: bool


class SizeState(_Kept):
    """How far one index is. `rows_wanted` names it; `next_probe` counts from run to run."""

    rows_wanted: int
    rows: int = 0
    next_study: int = 0
    next_probe: int = 0
    large_studies: int = 0
    slices: tuple[FillSlice, ...] = ()

    @property
    def is_full(self) -> bool:
        return self.rows >= self.rows_wanted


class GrowthState(_Kept):
    """Every index of one directory."""

    seed: int
    format_version: int = 1
    sizes: tuple[SizeState, ...] = ()


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

    def size(self, rows_wanted: int) -> SizeState:
        """What is known of one index; a new one where nothing is."""
        found = [size for size in self.state.sizes if size.rows_wanted == rows_wanted]
        return found[0] if found else SizeState(rows_wanted=rows_wanted)

    def put(self, size: SizeState) -> None:
        """Keeps what is known of one index, on disk on return."""
        others = [one for one in self.state.sizes if one.rows_wanted != size.rows_wanted]
        sizes = tuple(sorted((*others, size), key=lambda one: one.rows_wanted))
        self.state = self.state.model_copy(update={"sizes": sizes})
        self.directory.mkdir(parents=True, exist_ok=True)
        partial = self.directory / f"{FILE_NAME}.partial"
        partial.write_text(self.state.model_dump_json(indent=1), encoding="utf-8")
        partial.replace(self.directory / FILE_NAME)
