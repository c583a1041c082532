"""`python -m edge_gateway.workers DESCRIPTOR`: a worker process; only an acceptor starts it.

Its order comes on standard input. Invariant: exit codes are those of contracts.failures. Must hold
no logic of its own.
"""

from __future__ import annotations

import socket
import sys

from contracts.failures import EXIT_OK
from edge_gateway.__main__ import exit_code
from edge_gateway.workers.lifeline import die_with
from edge_gateway.workers.order import WorkerOrder
from edge_gateway.workers.worker import run


def main() -> int:
    """Runs one worker to its end and returns its exit code."""
    order = WorkerOrder.model_validate_json(sys.stdin.buffer.read())
    if not die_with(order.parent):
        return EXIT_OK
    control = socket.socket(fileno=int(sys.argv[1]))
    return exit_code(f"worker {order.number}", lambda: run(order, control))


if __name__ == "__main__":
    sys.exit(main())
