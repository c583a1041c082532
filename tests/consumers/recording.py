"""A consumer whose sink is this process: what the runner promises a writer is seen from inside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consumers.runner import Runner
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection
from contracts.events import GatewayRequest, RequestKind
from contracts.topics import GATEWAY_REQUEST
from infra.connect import Engines, connect
from infra.settings import ConsumerSettings, Settings
from infra.telemetry import Metrics
from tests.consumers.bus import Bus, eventually

LIMITS = BatchLimits(records_max=50, bytes_max=1_000_000, age_ms_max=200)
STOP_S = 120.0
# 12 partitions, one small event: the runner does not care what it carries.
INPUT = GATEWAY_REQUEST
OnWrite = Callable[[Sequence[Record[Any]]], Sequence[Rejection]]


def request(number: int) -> GatewayRequest:
    """A synthetic event that carries a number."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return GatewayRequest(f"gateway-{number % 40}", RequestKind.RELEASE, (str(number),), "", at)


def publish_numbers(bus: Bus, numbers: Sequence[int]) -> None:
    """One event for each number, on 40 keys."""
    bus.publish_events([(request(n), request(n).gateway_id.encode()) for n in numbers])


def number_of(record: Record[Any]) -> int:
    """The number an event carries."""
    return int(record.event.delivery_ids[0])


@dataclass
class RecordingWriter:
    """Keeps every batch; `on_write` decides what becomes of it."""

    on_write: OnWrite = field(default=lambda batch: ())
    batches: list[list[Record[Any]]] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    ticks: int = 0
    is_closed: bool = False

    def write(self, batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        self.batches.append(list(batch))
        rejections = self.on_write(batch)
        refused = {id(rejection.record) for rejection in rejections}
        self.written += [number_of(r) for r in batch if id(r) not in refused]
        return rejections

    def tick(self) -> None:
        self.ticks += 1

    def close(self) -> None:
        self.is_closed = True


class RunningConsumer:
    """A runner on a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        writer: RecordingWriter,
        limits: BatchLimits = LIMITS,
        change_engines: Callable[[Engines], Engines] = lambda engines: engines,
        member: str | None = None,
    ) -> None:
        self.writer = writer
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        own = settings.model_copy(update={"scratch_directory": directory})
        self._engines = change_engines(connect(own, "recording", Metrics()))
        spec = ConsumerSpec(
            name="recording",
            inputs={INPUT: GatewayRequest},
            limits=limits,
            size_bytes=lambda event: 1_000,
            build=lambda engines: writer,
        )
        self.runner = Runner(spec, self._engines, ConsumerSettings(), self._stop, member=member)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.runner.run()
        except BaseException as failure:  # noqa: BLE001 - handed to the test, which looks at it
            self.failure = failure

    @property
    def metrics(self) -> Metrics:
        """The metrics of this consumer."""
        return self._engines.metrics

    def wait_ready(self) -> None:
        """Returns once it runs."""
        eventually(lambda: self.runner.readiness.is_ready, "a running consumer")

    def wait_failed(self) -> BaseException:
        """What ended it."""
        eventually(lambda: self.failure is not None, "an end by failure")
        assert self.failure is not None
        return self.failure

    def stop(self) -> None:
        """Stops it kindly; what failed it before is kept."""
        self._stop.set()
        self._thread.join(STOP_S)
        assert not self._thread.is_alive(), "asked to stop, still running"
        self._engines.close()


@contextmanager
def running(
    settings: Settings, directory: Path, writer: RecordingWriter, **options: Any
) -> Iterator[RunningConsumer]:
    """A consumer for the length of a block; fails if it failed and nobody looked."""
    consumer = RunningConsumer(settings, directory, writer, **options)
    try:
        yield consumer
    finally:
        consumer.stop()


def with_publisher(publisher: Any) -> Callable[[Engines], Engines]:
    """Engines with another publisher made from theirs."""
    return lambda engines: replace(engines, publisher=publisher(engines.publisher))
