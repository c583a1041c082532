"""`python -m infra.engines.clickhouse_server`: one site's local stand-in for a ClickHouse server.

Invariant: it listens only once its engine is open, and an insert it answered with 200 survives
a kill -9 of this process. It must not be used beyond one machine: production runs ClickHouse.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

# Native blocks carry DateTime without its zone; with UTC here nothing is read as another hour.
os.environ["TZ"] = "UTC"
time.tzset()

from contracts.failures import EXIT_FAILED, EXIT_OK  # noqa: E402
from infra.engines.clickhouse_engine import DataDirectoryBusy, Engine  # noqa: E402
from infra.engines.clickhouse_http import ClickHouseHttpServer  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        engine = Engine(options.data)
    except DataDirectoryBusy as error:
        print(f"opening the data directory: {error}", file=sys.stderr)
        return EXIT_FAILED
    try:
        server = ClickHouseHttpServer((options.host, options.port), engine)
    except OSError as error:
        print(f"listening on {options.host}:{options.port}: {error}", file=sys.stderr)
        engine.close()
        return EXIT_FAILED
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    print(f"listening on {options.host}:{server.server_port}", file=sys.stderr, flush=True)
    stop.wait()
    if server.drain():
        engine.close()
    sys.stderr.flush()
    # A statement that would not end holds chdb's threads; the data directory is crash-safe.
    os._exit(EXIT_OK)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.engines.clickhouse_server")
    parser.add_argument("--data", type=Path, required=True, help="data directory")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
