"""The nemesis: which fault hits whom and when, drawn from a seed, and the hand that does it.

Invariant: the same seed draws the same plan; every fault that began is ended and written into the
history, also when the run fails. It must not wait for the pipeline to recover.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.history import History
from tests.faults.http_proxy import Fault, Spoil
from tests.faults.pipeline import FORWARD, INPUTS, RECEIVE, Pipeline
from tests.faults.spoilt_answers import S3_ERRORS, is_insert, is_upload

DELAY_S = 0.2
LASTS_S = (0.5, 3.0)
STORES = ("primary store", "dr store")
INDEXES = ("primary index", "dr index")


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: `at_s` after the run's begin, on one target, for `lasts_s`."""

    at_s: float
    fault: str
    target: str
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault and whom it may hit. `begin` and `end` get pipeline, target and seed."""

    targets: tuple[str, ...]
    begin: Callable[[Pipeline, str, int], None]
    end: Callable[[Pipeline, str, int], None]


def _heal(pipeline: Pipeline, target: str, seed: int) -> None:
    pipeline.proxies[target].heal()


def _spoils(fault: Fault, one_in: int) -> Callable[[Pipeline, str, int], None]:
    def begin(pipeline: Pipeline, target: str, seed: int) -> None:
        pipeline.proxies[target].spoil(fault, seed, one_in)

    return begin


def _slow(pipeline: Pipeline, target: str, seed: int) -> None:
    pipeline.proxies[target].delay_s = DELAY_S


def _start_kafka(pipeline: Pipeline, target: str, seed: int) -> None:
    pipeline.restart_kafka()


KINDS: dict[str, Kind] = {
    "kill": Kind(
        (RECEIVE, FORWARD, *INPUTS),
        lambda pipeline, target, seed: pipeline.kill(target),
        lambda pipeline, target, seed: pipeline.start(target),
    ),
    "stop": Kind(
        (FORWARD, *INPUTS, "kafka"),
        lambda pipeline, target, seed: pipeline.signal(target, signal.SIGSTOP),
        lambda pipeline, target, seed: pipeline.signal(target, signal.SIGCONT),
    ),
    "kill kafka": Kind(
        ("kafka",), lambda pipeline, target, seed: pipeline.kafka.kill("kafka"), _start_kafka
    ),
    "empty kafka": Kind(
        ("kafka",), lambda pipeline, target, seed: pipeline.empty_kafka(), lambda *_: None
    ),
    "cut": Kind(
        STORES + INDEXES, lambda pipeline, target, seed: pipeline.proxies[target].shut(), _heal
    ),
    "delay": Kind(STORES + INDEXES, _slow, _heal),
    "stall": Kind(
        STORES + INDEXES,
        lambda pipeline, target, seed: pipeline.proxies[target].is_stalled.set(),
        _heal,
    ),
    "corrupt": Kind(STORES, _spoils(Fault(Spoil.FLIP_BODY, is_upload), 4), _heal),
    "errors": Kind(STORES, _spoils(Fault(Spoil.ANSWER, answers=S3_ERRORS), 10), _heal),
    "die after body": Kind(STORES, _spoils(Fault(Spoil.DIE_AFTER_BODY, is_upload), 3), _heal),
    "lose answer": Kind(INDEXES, _spoils(Fault(Spoil.LOSE_ANSWER, is_insert), 3), _heal),
}


def draw_plan(seed: int, kinds: Sequence[str], seconds: float) -> tuple[Step, ...]:
    """Faults one after the other until the time is over, each kind as likely as another."""
    chance = random.Random(seed)
    steps = []
    at_s = 0.5
    while at_s < seconds:
        fault = chance.choice(kinds)
        lasts_s = round(chance.uniform(*LASTS_S), 2)
        steps.append(Step(round(at_s, 2), fault, chance.choice(KINDS[fault].targets), lasts_s))
        at_s += lasts_s + chance.uniform(0.2, 1.5)
    return tuple(steps)


class Nemesis:
    """Carries a plan out on a thread of its own."""

    def __init__(self, pipeline: Pipeline, history: History, seed: int) -> None:
        self._pipeline = pipeline
        self._history = history
        self._seed = seed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: None)
        self.failure: BaseException | None = None

    def start(self, plan: Sequence[Step]) -> None:
        """Begins."""
        self._thread = threading.Thread(target=self._carry_out, args=(plan,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The fault in hand ends now, no other begins."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Returns once every fault is over. Raises what went wrong."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"the nemesis is not done after {timeout_s:.0f} s"
        if self.failure is not None:
            raise self.failure

    def _carry_out(self, plan: Sequence[Step]) -> None:
        began = time.monotonic()
        try:
            for number, step in enumerate(plan):
                if self._stop.wait(max(0.0, began + step.at_s - time.monotonic())):
                    return
                self.one(step, self._seed + number)
        except BaseException as failure:  # noqa: BLE001 - handed to the test, which fails with it
            self.failure = failure

    def one(self, step: Step, seed: int) -> None:
        """One fault from begin to end."""
        kind = KINDS[step.fault]
        self._history.fault(step.fault, step.target, is_begin=True)
        kind.begin(self._pipeline, step.target, seed)
        try:
            self._stop.wait(step.lasts_s)
        finally:
            kind.end(self._pipeline, step.target, seed)
            self._history.fault(step.fault, step.target, is_begin=False)
