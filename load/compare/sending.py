"""One column of the ingest matrix as a sender: the same instances to whichever receiver is asked.

Invariant: within one turn every receiver is sent a prefix of the same instances, and no turn
repeats another's, so that nobody stores what it has already. It must not look at the receiver.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from load.compare.goals import Cell
from load.senders import (
    LeanOptions,
    Planned,
    SendRun,
    StockOptions,
    StockProgram,
    Target,
    ceiling,
    send_lean,
    send_stock,
)
from load.studies import (
    Identity,
    Template,
    default_cache,
    renew_part10,
    templates,
    write_part10,
)

# Files of a stock sender: 0.5 GB of CT. The lean sender keeps some 250 bytes an instance.
FILES_MAX = {"ct": 1_000, "ct-small": 6_000}
PLANNED_MAX = 40_000
# Fewer than this an association tells of the association and not of its C-STOREs; a stock
# sender's time has its program's start in it too, some 20 ms a process.
INSTANCES_MIN = 4
INSTANCES_MIN_STOCK = 8
STOCK_LONGER = 2.0
SENDING_SECONDS_MAX = 60.0


class StockFiles:
    """Part-10 files of one kind on disk, renewed for each turn."""

    def __init__(self, template: Template, directory: Path, seed: int) -> None:
        self._template = template
        self._directory = directory
        self._seed = seed
        self._paths: list[Path] = []
        self._studies: list[int] = []

    def files(self, count: int, study: int) -> Sequence[Path]:
        """`count` files that hold the first instances of `study`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            identity = Identity(self._seed, study, 1, number)
            if number == len(self._paths):
                path = self._directory / f"{number:06d}.dcm"
                write_part10(path, self._template, identity)
                self._paths.append(path)
                self._studies.append(study)
            elif self._studies[number] != study:
                renew_part10(self._paths[number], identity)
                self._studies[number] = study
        return self._paths[:count]


class CellSender:
    """Sends the instances of a cell. `kinds` holds the files that cells share.

    `stock` is the program of a cell that is not lean.
    """

    def __init__(
        self,
        cell: Cell,
        seed: int,
        kinds: dict[str, StockFiles],
        directory: Path,
        *,
        stock: StockProgram = "storescu",
    ) -> None:
        self.cell = cell
        self._stock: StockProgram = stock
        self._seed = seed
        self._template = templates(cell.kind, cache=default_cache())
        if not cell.is_lean and cell.kind not in kinds:
            kinds[cell.kind] = StockFiles(self._template, directory / cell.kind, seed)
        self._files = kinds.get(cell.kind)

    @property
    def count_min(self) -> int:
        """The least instances of a sample."""
        each = INSTANCES_MIN if self.cell.is_lean else INSTANCES_MIN_STOCK
        return each * self.cell.associations

    @property
    def longer(self) -> float:
        """How much longer than others a sample of this sender must be."""
        return 1.0 if self.cell.is_lean else STOCK_LONGER

    @property
    def count_max(self) -> int:
        """The most instances of a sample."""
        if self.cell.is_lean:
            return PLANNED_MAX
        return FILES_MAX.get(self.cell.kind, min(FILES_MAX.values()))

    def prepare(self, count: int, study: int) -> None:
        """Files that `send` would have to write or change are so already."""
        if self._files is not None and not self.cell.is_lean:
            self._files.files(count, study)

    def send(self, target: Target, count: int, study: int) -> SendRun:
        """Sends the first `count` instances of `study`; never raises for what the target does."""
        if self.cell.is_lean:
            return send_lean(target, self.planned(count, study), self.lean_options())
        assert self._files is not None
        options = StockOptions(
            program=self._stock,
            associations=self.cell.associations,
            seconds_max=SENDING_SECONDS_MAX,
            kind=self.cell.kind,
        )
        return send_stock(target, self._files.files(count, study), options)

    def ceiling(self, count: int, study: int) -> float:
        """Instances per second of the lean sender into a receiver that drops them."""
        return ceiling(self.planned(count, study), self.lean_options())

    def planned(self, count: int, study: int) -> list[Planned]:
        """The first `count` instances of `study`, to be sent as fast as answers come."""
        return [
            Planned(self._template, Identity(self._seed, study, 1, number))
            for number in range(count)
        ]

    def lean_options(self) -> LeanOptions:
        """Associations spread evenly over processes, of which there are no more than cores."""
        cores = os.cpu_count() or 1
        associations = self.cell.associations
        processes = max(n for n in range(1, cores + 1) if associations % n == 0)
        return LeanOptions(
            processes=processes,
            associations=associations // processes,
            seconds_max=SENDING_SECONDS_MAX,
        )
