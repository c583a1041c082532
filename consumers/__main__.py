"""One consumer process: `python -m consumers NAME --settings FILE`.

Invariant: ends with 0 when asked to stop, 78 when a person has to decide, 1 otherwise; the last
log line of a failed process is `stopped` with `reason` and `next_step`. NAME may end in -2, -3 …
for further members of the same group. Where memory runs out it begins anew with half the batch.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from consumers.batch_halving import HALVINGS_MAX, OPTION, begin_anew, halved, is_out_of_memory
from consumers.catalog import require_meant, spec_of
from consumers.runner import Runner
from contracts.failures import EXIT_FAILED, EXIT_FATAL, EXIT_OK, FatalError, RetryableError
from infra import settings as settings_module
from infra.connect import connect
from infra.memory_reuse import reuse_large_buffers
from infra.process_end import stop_on_signals, stopped, unexpected
from infra.settings import Settings
from infra.telemetry import Metrics, ProcessEndpoint, configure_logging, logger

_BIND = "127.0.0.1"


def main() -> int:
    """Runs until SIGTERM or SIGINT; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m consumers")
    parser.add_argument("name", help="a consumer of the catalogue, with -2, -3 … for more members")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument(
        OPTION, type=int, default=0, help="set by the process itself where its memory ran out"
    )
    options = parser.parse_args()
    configure_logging(options.name, "info")
    reuse_large_buffers()
    stop = threading.Event()
    stop_on_signals(stop)
    try:
        settings = settings_module.load(options.settings)
        run_consumer(options.name, settings, stop, options.batch_halvings)
    except FatalError as cause:
        return stopped(str(cause), cause.next_step, EXIT_FATAL)
    except RetryableError as cause:
        return stopped(str(cause), "", EXIT_FAILED)
    except Exception as cause:  # noqa: BLE001 - process entry: the unknown is ours to mend
        if not is_out_of_memory(cause):
            return stopped(unexpected(cause), "report this line, it is a defect", EXIT_FATAL)
    else:
        return EXIT_OK
    # Here nothing holds the cause, and with it the batch, any more.
    return _out_of_memory(stop, options.batch_halvings)


def run_consumer(
    process_name: str, settings: Settings, stop: threading.Event, batch_halvings: int = 0
) -> None:
    """Runs one consumer with its HTTP endpoint until `stop`. Raises FatalError."""
    spec = spec_of(process_name)
    require_meant(settings)
    configure_logging(process_name, settings.log_level)
    metrics = Metrics()
    metrics.gauge("hilum_consumer_batch_halvings", batch_halvings)
    engines = connect(settings, process_name, metrics)
    own = halved(spec.limits, settings.consumer(spec.name), batch_halvings)
    runner = Runner(spec, engines, own, stop, member=process_name)
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


def _out_of_memory(stop: threading.Event, batch_halvings: int) -> int:
    """Begins anew with half the batch; gives the exit code where that is over."""
    # A request to stop that comes from here on ends the process: nothing is in hand.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if stop.is_set():
        return EXIT_OK
    step = "lower consumers.*.memory_bytes_max (packs) or batch_bytes_max (the others)"
    if batch_halvings >= HALVINGS_MAX:
        return stopped("out of memory", step, EXIT_FAILED)
    logger("process").warning("out of memory", batch_halvings=batch_halvings + 1, next_step=step)
    begin_anew(batch_halvings + 1)


if __name__ == "__main__":
    sys.exit(main())
