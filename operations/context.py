"""Which stack a command speaks to: from `--settings FILE`, or from a local stack's state.

Invariant: a command needs settings only; it never looks into a gateway's directories.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.failures import FatalError
from infra.settings import Settings, load

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_STATE_DIRECTORY = CHECKOUT / ".hilum"


@dataclass(frozen=True, slots=True)
class Context:
    """What the options of a command say: where the stack is and how to answer."""

    state_directory: Path
    port_offset: int
    settings_file: Path | None
    as_json: bool

    def settings(self) -> Settings:
        """The settings of the stack. Raises FatalError when there is none."""
        if self.settings_file is not None:
            return load(self.settings_file)
        written = self.state_directory / "settings.toml"
        if not written.exists():
            raise FatalError(
                f"no stack has been started in {self.state_directory}",
                "run `./hilum up --detach`, or name a settings file with --settings",
            )
        return load(written)
