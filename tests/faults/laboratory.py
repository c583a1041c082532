"""One run: clients send, the nemesis works, the pipeline settles, the checker judges, a report.

Invariant: the verdict is the checker's alone; a run leaves its history and both reports, also when
it fails. It must not wait for ever: every phase has a deadline.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.settings import Settings
from tests.faults.archive_reading import client_of
from tests.faults.checker import Verdict, broken, check
from tests.faults.clients import Client
from tests.faults.history import History
from tests.faults.nemesis import Nemesis, Step
from tests.faults.pipeline import Pipeline, running_pipeline
from tests.faults.run_report import RunFacts, write_run_report
from tests.polling import repeatedly

SETTLE_S = 300.0
SEND_S = 240.0
SAMPLE_S = 0.5
Tell = Callable[[str], None]
Record = Callable[[str, object], None]


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: `clients` modalities, so many instances each, a pause after each."""

    clients: int = 2
    instances: int = 20
    pace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `recovery_s`: from the last fault's end until everything held."""

    name: str
    seed: int
    acknowledged: int
    verdicts: tuple[Verdict, ...]
    recovery_s: float
    longest_lag_records: int
    not_answered: int
    report: Path

    @property
    def figure(self) -> str:
        """The line for the fault matrix."""
        lost = len(broken(self.verdicts).get("I1", ()))
        return (
            f"{lost} lost of {self.acknowledged}; longest lag {self.longest_lag_records} records; "
            f"all held {self.recovery_s:.1f} s after the fault"
        )

    def must_hold(self) -> None:
        """Fails with every violation."""
        assert not broken(self.verdicts), broken(self.verdicts)


class Laboratory:
    """A pipeline and its history; runs follow one another on it, each judged with all before."""

    def __init__(self, pipeline: Pipeline, reports: Path, tell: Tell = print) -> None:
        self.pipeline = pipeline
        self.history = History(pipeline.directory / "history.jsonl")
        self.reports = reports
        self._tell = tell
        self._sample()

    def run(
        self,
        name: str,
        seed: int,
        plan: Sequence[Step],
        load: Load = Load(),
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Sends while the plan is carried out (and `meanwhile` runs), settles, judges, reports."""
        started_at, began_s = datetime.now(UTC), self.history.now_s()
        self.history.note(f"run {name}, seed {seed}")
        with repeatedly(self._sample, SAMPLE_S):
            nemesis = Nemesis(self.pipeline, self.history, seed)
            # Other instances in each run, the same ones when a run is repeated.
            clients = self._clients(f"{name} {seed}", load)
            self._send_under(clients, (nemesis, plan), load, meanwhile)
            healed = time.monotonic()
            verdicts = self._settle()
        recovery_s = time.monotonic() - healed
        facts = RunFacts(name, seed, started_at, began_s, self.history.path, tuple(verdicts))
        report = write_run_report(facts, self.reports / f"{name}-{seed}")
        outcome = Outcome(
            name=name,
            seed=seed,
            acknowledged=sum(client.acknowledged for client in clients),
            verdicts=tuple(verdicts),
            recovery_s=recovery_s,
            longest_lag_records=facts.longest_lag_records(),
            not_answered=facts.not_answered(),
            report=report,
        )
        self._tell(f"{name}, seed {seed}: {outcome.figure}; {report}")
        return outcome

    def send(self, seed: int, load: Load = Load()) -> int:
        """Sends without a fault; how many were acknowledged. Returns when all are."""
        clients = self._clients(f"send {seed}", load)
        nemesis = Nemesis(self.pipeline, self.history, seed)
        self._send_under(clients, (nemesis, ()), load, lambda: None)
        return sum(client.acknowledged for client in clients)

    @contextmanager
    def fault(self, name: str, target: str) -> Iterator[None]:
        """Writes down that a fault lasts as long as the block."""
        self.history.fault(name, target, is_begin=True)
        try:
            yield
        finally:
            self.history.fault(name, target, is_begin=False)

    def object_keys(self) -> list[str]:
        """Every object of the first site's bucket."""
        site = self.pipeline.site("primary")
        listed = client_of(site).list_objects(site.bucket, recursive=True)
        return [str(each.object_name) for each in listed]

    def close(self) -> None:
        """Closes the history."""
        self.history.close()

    def _clients(self, seed: str, load: Load) -> list[Client]:
        chance, target = random.Random(seed), self.pipeline.target()
        return [
            Client(f"MODALITY{n}", chance.randrange(2**62), target, self.history, load.pace_s)
            for n in range(load.clients)
        ]

    def _send_under(
        self,
        clients: Sequence[Client],
        faults: tuple[Nemesis, Sequence[Step]],
        load: Load,
        meanwhile: Callable[[], None],
    ) -> None:
        nemesis, plan = faults
        for client in clients:
            client.start(load.instances)
        nemesis.start(plan)
        try:
            meanwhile()
            for client in clients:
                client.join(SEND_S + load.pace_s * load.instances)
        finally:
            for client in clients:
                client.stop()
            length_s = sum(step.lasts_s for step in plan) + max((s.at_s for s in plan), default=0)
            nemesis.join(length_s + SEND_S)

    def _settle(self) -> list[Verdict]:
        """Verdicts once everything holds, or those of the deadline."""
        until = time.monotonic() + SETTLE_S
        while True:
            is_at_rest = self._sample()
            is_late = time.monotonic() > until
            if is_at_rest or is_late:
                verdicts = check(
                    self.history.path, self.pipeline.site("primary"), self.pipeline.site("dr")
                )
                if not broken(verdicts) or is_late:
                    return verdicts
            time.sleep(SAMPLE_S / 2)

    def _sample(self) -> bool:
        """Writes every gauge down; whether all of them are at rest."""
        gauges = self.pipeline.gauges()
        for name, value in gauges.items():
            self.history.gauge(name, value)
        return bool(gauges) and not any(gauges.values())


@contextmanager
def laboratory(
    engines: Settings, directory: Path, reports: Path, tell: Tell = print
) -> Iterator[Laboratory]:
    """A laboratory with a pipeline at rest, for the length of a block."""
    with running_pipeline(engines, directory) as pipeline:
        found = Laboratory(pipeline, reports, tell)
        try:
            yield found
        finally:
            found.close()


def at_once(fault: str, target: str, lasts_s: float) -> tuple[Step, ...]:
    """A plan of one fault from the begin on."""
    return (Step(0.0, fault, target, lasts_s),)


def held(outcome: Outcome, record_property: Record) -> Outcome:
    """The outcome, which must hold; its figure is kept for the fault matrix."""
    record_property("seed", outcome.seed)
    record_property("figure", outcome.figure)
    outcome.must_hold()
    return outcome
