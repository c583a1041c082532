"""Merges and collects packs by night: `python -m operations.packs.keeper --settings FILE`.

Invariant: works only between the hours that the settings name and only what they ask for; what it
does to a pack is `merge`'s and `collect`'s own rule, so that it may be cut off anywhere, run twice
at once and beside a person who does the same. A night that failed is begun again until it is over.
"""

from __future__ import annotations

import argparse
import sys
import threading
from datetime import date, timedelta
from pathlib import Path

from contracts.failures import EXIT_FATAL, EXIT_OK, FatalError, RetryableError
from infra.connect import Engines, connect
from infra.process_end import stop_on_signals, stopped, unexpected
from infra.settings import Settings, load
from infra.telemetry import Metrics, ProcessEndpoint, Readiness, configure_logging, logger
from operations.packs.collect import Collected, collect
from operations.packs.merge import Merged, MergeOptions, merge

NAME = "pack-keeper"
LOOK_S = 30.0
LISTED_MAX = 20  # lines of what could not be done, in the log
_BIND = "127.0.0.1"

_log = logger(NAME)


class PackKeeper:
    """One process's nights. `readiness` may be read from any thread."""

    def __init__(self, engines: Engines, stop: threading.Event) -> None:
        self._engines = engines
        self._settings = engines.settings.packs
        self._clock = engines.clock
        self._metrics = engines.metrics
        self._stop = stop
        self._done: date | None = None
        self.readiness = self._waiting()

    def run(self) -> None:
        """Looks for its hour until `stop` is set. Raises FatalError."""
        while not self._stop.is_set():
            self.look()
            self._clock.wait(self._stop, LOOK_S)

    def look(self) -> None:
        """Does the night's work if it is night and not done yet. Raises FatalError."""
        night = self._settings.night(self._clock.now())
        if night is None or night == self._done:
            self.readiness = self._waiting()
            return
        try:
            self._work(night)
        except RetryableError as cause:
            _log.warning("retrying", why=str(cause))
            self.readiness = Readiness(False, f"retrying: {cause}")
            return
        if self._goes_on(night):
            self._done = night
            ended_at = self._clock.now().timestamp()
            self._metrics.gauge("hilum_packs_night_timestamp_seconds", ended_at)
        self.readiness = self._waiting()

    def _work(self, night: date) -> None:
        own = self._settings
        if own.merge:
            self.readiness = Readiness(True, "merging")
            options = MergeOptions(
                packs_min=own.packs_min,
                idle=timedelta(hours=own.idle_hours),
                is_applied=True,
                goes_on=lambda: self._goes_on(night),
            )
            self._tell_merged(merge(self._engines, options))
        if own.collect and self._goes_on(night):
            self.readiness = Readiness(True, "collecting")
            collected = collect(
                self._engines, is_applied=True, goes_on=lambda: self._goes_on(night)
            )
            self._tell_collected(collected)

    def _goes_on(self, night: date) -> bool:
        return not self._stop.is_set() and self._settings.night(self._clock.now()) == night

    def _waiting(self) -> Readiness:
        own = self._settings
        return Readiness(True, f"works from {own.begins} to {own.ends} ({own.time_zone})")

    def _tell_merged(self, merged: Merged) -> None:
        replaced = sum(len(one.replaces) for one in merged.merges)
        self._metrics.count("hilum_packs_merged_total", replaced)
        _log.info("merged", packs=replaced, into=len(merged.merges), failed=len(merged.failed))
        for line in merged.failed[:LISTED_MAX]:
            _log.warning("not merged", why=line)

    def _tell_collected(self, done: Collected) -> None:
        self._metrics.count("hilum_packs_collected_total", len(done.collected))
        self._metrics.count("hilum_packs_collected_bytes_total", done.size_bytes)
        self._metrics.gauge("hilum_packs_damaged", len(done.damaged))
        _log.info(
            "collected",
            packs=len(done.collected),
            size_bytes=done.size_bytes,
            read_bytes=done.read_bytes,
            waiting=len(done.waiting),
        )
        for line in done.damaged[:LISTED_MAX]:
            _log.error("damaged pack", why=line)


def run_keeper(settings: Settings, stop: threading.Event) -> None:
    """One keeper with its HTTP endpoint until `stop`. Raises FatalError."""
    if not settings.packs.is_asked_for:
        raise FatalError("nothing to do by night", "set packs.merge or packs.collect to true")
    configure_logging(NAME, settings.log_level)
    metrics = Metrics()
    engines = connect(settings, NAME, metrics)
    keeper = PackKeeper(engines, stop)
    endpoint = ProcessEndpoint(_BIND, settings.packs.http_port, metrics, lambda: keeper.readiness)
    endpoint.start()
    _log.info("started", http_port=endpoint.port, reason=keeper.readiness.reason)
    try:
        keeper.run()
    finally:
        engines.close()
        endpoint.stop()


def main() -> int:
    """Runs until SIGTERM or SIGINT; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m operations.packs.keeper")
    parser.add_argument("--settings", type=Path, required=True)
    options = parser.parse_args()
    configure_logging(NAME, "info")
    stop = threading.Event()
    stop_on_signals(stop)
    try:
        run_keeper(load(options.settings), stop)
    except FatalError as cause:
        return stopped(str(cause), cause.next_step, EXIT_FATAL)
    except Exception as cause:  # noqa: BLE001 - process entry: the unknown is ours to mend
        return stopped(unexpected(cause), "report this line, it is a defect", EXIT_FATAL)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
