"""One consumer process: `python -m consumers NAME --settings FILE`.

Invariant: ends with 0 when asked to stop, 78 when a person has to decide, 1 otherwise; the last
log line of a failed process is `stopped` with `reason` and `next_step`. NAME may end in -2, -3 …
for further members of the same group.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from consumers.catalog import require_meant, spec_of
from consumers.runner import Runner
from contracts.failures import EXIT_FAILED, EXIT_FATAL, EXIT_OK, FatalError, RetryableError
from infra import settings as settings_module
from infra.connect import connect
from infra.memory_reuse import reuse_large_buffers
from infra.settings import Settings
from infra.telemetry import Metrics, ProcessEndpoint, configure_logging, logger

# After a request to stop the batch in hand is given this long; what is cut off comes again.
STOP_S_MAX = 9.0
_BIND = "127.0.0.1"


def main() -> int:
    """Runs until SIGTERM or SIGINT; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m consumers")
    parser.add_argument("name", help="a consumer of the catalogue, with -2, -3 … for more members")
    parser.add_argument("--settings", type=Path, required=True)
    options = parser.parse_args()
    configure_logging(options.name, "info")
    reuse_large_buffers()
    stop = threading.Event()
    _stop_on_signals(stop)
    try:
        run_consumer(options.name, settings_module.load(options.settings), stop)
    except FatalError as cause:
        return _stopped(str(cause), cause.next_step, EXIT_FATAL)
    except RetryableError as cause:
        return _stopped(str(cause), "", EXIT_FAILED)
    except MemoryError:
        step = "lower consumers.*.memory_bytes_max (packs) or batch_bytes_max (the others)"
        return _stopped("out of memory", step, EXIT_FAILED)
    except Exception as cause:  # noqa: BLE001 - process entry: the unknown is ours to mend
        return _stopped(_unexpected(cause), "report this line, it is a defect", EXIT_FATAL)
    return EXIT_OK


def run_consumer(process_name: str, settings: Settings, stop: threading.Event) -> None:
    """Runs one consumer with its HTTP endpoint until `stop`. Raises FatalError."""
    spec = spec_of(process_name)
    require_meant(settings)
    configure_logging(process_name, settings.log_level)
    metrics = Metrics()
    engines = connect(settings, process_name, metrics)
    runner = Runner(spec, engines, settings.consumer(spec.name), stop, member=process_name)
    endpoint = ProcessEndpoint(
        _BIND, settings.consumer(process_name).http_port, metrics, lambda: runner.readiness
    )
    endpoint.start()
    logger("process").info("started", consumer=spec.name, http_port=endpoint.port)
    try:
        runner.run()
    finally:
        engines.close()
        endpoint.stop()


def _stop_on_signals(stop: threading.Event) -> None:
    def on_signal(_number: int, _frame: object) -> None:
        if stop.is_set():
            return
        stop.set()
        cut_off = threading.Timer(STOP_S_MAX, os._exit, (EXIT_OK,))
        cut_off.daemon = True
        cut_off.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def _stopped(reason: str, next_step: str, exit_code: int) -> int:
    logger("process").error("stopped", reason=reason, next_step=next_step, exit_code=exit_code)
    return exit_code


def _unexpected(cause: Exception) -> str:
    # The text of an unknown exception may hold anything, also of a patient: name the place only.
    last = traceback.extract_tb(cause.__traceback__)[-1:]
    place = "".join(f" at {Path(at.filename).name}:{at.lineno} in {at.name}" for at in last)
    return f"unexpected {type(cause).__name__}{place}"


if __name__ == "__main__":
    sys.exit(main())
