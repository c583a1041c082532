"""`python -m edge_gateway receive|forward|mirror --settings FILE --gateway NAME`: one process.

Invariant: exit codes are those of contracts.failures (78: a person has to look), and the last
line on stderr says why. Must hold no logic of its own.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from contracts.failures import EXIT_FAILED, EXIT_FATAL, FatalError, HilumError
from infra.memory_reuse import reuse_large_buffers
from infra.settings import Settings, load
from infra.telemetry import logger

_LOG = logger("process")


def main(arguments: list[str] | None = None) -> int:
    """Runs one process to its end and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m edge_gateway", description=__doc__)
    parser.add_argument("role", choices=("receive", "forward", "mirror"))
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE")
    parser.add_argument("--gateway", required=True, metavar="NAME")
    options = parser.parse_args(arguments)
    return exit_code(
        options.role, lambda: _runner(options.role)(load(options.settings), options.gateway)
    )


def exit_code(role: str, run: Callable[[], int]) -> int:
    """What `run` returns, or what its failure is for whoever started the process."""
    try:
        return run()
    except FatalError as failure:
        print(f"edge_gateway {role}: {failure}", file=sys.stderr)
        return EXIT_FATAL
    except HilumError as failure:
        print(f"edge_gateway {role}: {failure}", file=sys.stderr)
        return EXIT_FAILED
    except Exception as fault:  # noqa: BLE001 - the process entry
        # Places without the text, which may hold anything, also of a patient.
        places = [f"{at.filename}:{at.lineno}" for at in traceback.extract_tb(fault.__traceback__)]
        _LOG.error("unexpected fault", fault=type(fault).__name__, places=places)
        return EXIT_FAILED


def _runner(role: str) -> Callable[[Settings, str], int]:
    # Imported here: the receiver must start without what only the forwarder needs.
    if role == "receive":
        from edge_gateway import receive

        return receive.run
    if role == "mirror":
        from edge_gateway.mirror import process

        return process.run
    from edge_gateway import forward

    # Each of the chunks on their way is copied some five times (page faults: 0.7 CPU s a GB).
    reuse_large_buffers()
    return forward.run


if __name__ == "__main__":
    sys.exit(main())
