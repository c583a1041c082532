"""Our own gateway as a measured receiver: the real receive process with production's defaults.

Invariant: nothing is tuned for the measurement; only addresses, directories and who is admitted
are set. `clear` does what the forwarder does once everything is archived, through the spool's
public surface, so that later measurements write to recycled segments as a gateway in use does.
"""

from __future__ import annotations

import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contracts.failures import RetryableError
from edge_gateway.spool import SpooledDelivery, SpoolSet
from edge_gateway.spool.spool_set import WorkerReader
from infra.engines.program import Probe
from infra.local_stack import local_stack_tree
from load.receivers.process import OwnProcess, ProcessReceiver, own_process
from load.senders.model import Target
from operations.ports import free_ports
from operations.stack_files import to_toml, write_private

GATEWAY = "load"
AE_TITLE = "HILUM"
# What is set of the spool beside its directory: nothing, so that production's defaults hold.
DEFAULTS: Mapping[str, int] = {}
RECORDS_PER_POLL = 1_000
# All that there are: each keeps its segments for recycling.
WORKERS_MAX = 16
SCRAPE_TIMEOUT_S = 5.0
_FLUSHES = "hilum_spool_flush_total"


class RunningHilum(ProcessReceiver):
    """The receive process of gateway `load`; this object stands in for its forwarder."""

    def __init__(self, process: OwnProcess, target: Target, spool: Path, http_port: int) -> None:
        super().__init__(process, target)
        self._spool = spool
        self._http_port = http_port
        self._readers: dict[int, WorkerReader] = {}

    def wait_until_ready(self) -> None:
        """Returns once readyz says so and a C-ECHO is answered."""
        probe = Probe("http", self._http_port, "/readyz")
        self._process.wait_until(lambda: probe.ask().is_ready, "not ready")
        self.wait_for_echo()

    def clear(self) -> None:
        """Purges every delivery and releases all sealed segments for recycling.

        The live segment stays: a gateway never gives that one away. Raises SpoolError.
        """
        with SpoolSet(self._spool, workers=WORKERS_MAX) as spools:
            for worker in spools.workers:
                if worker not in self._readers:
                    self._readers[worker] = spools.follower(worker)
                self._clear(self._readers[worker], spools)

    def _clear(self, reader: WorkerReader, spools: SpoolSet) -> None:
        while records := reader.poll(RECORDS_PER_POLL):
            for record in records:
                if isinstance(record.entry, SpooledDelivery) and record.entry.external:
                    spools.purge(record.entry.delivery_id)
        live = reader.position.segment_number
        for number in spools.segment_numbers():
            if reader.first_segment <= number < live:
                spools.release_segment(number)

    def flushes(self) -> int | None:
        """Flushes of the spool since the process started, as /metrics says at this moment."""
        url = f"http://127.0.0.1:{self._http_port}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=SCRAPE_TIMEOUT_S) as answer:
                text: str = answer.read().decode()
        except (urllib.error.URLError, OSError) as cause:
            raise RetryableError(f"reading the metrics of the measured gateway: {cause}") from cause
        values = [line.split()[1] for line in text.splitlines() if line.startswith(_FLUSHES + " ")]
        return int(float(values[0]))

    def close(self) -> None:
        """Lets go of the spool's files."""
        for reader in self._readers.values():
            reader.close()


@contextmanager
def run_hilum(
    directory: Path, spool: Mapping[str, int] = DEFAULTS, *, workers: int | None = None
) -> Iterator[RunningHilum]:
    """`python -m edge_gateway receive` with settings and a spool of its own below `directory`.

    `spool` sets keys of its spool away from production's defaults, `workers` how many processes
    receive.
    """
    command = [sys.executable, "-m", "edge_gateway", "receive"]
    with run_gateway("hilum", command, directory, spool, workers=workers) as running:
        yield running


@contextmanager
def run_gateway(
    name: str,
    command: Sequence[str],
    directory: Path,
    spool_settings: Mapping[str, int] = DEFAULTS,
    *,
    workers: int | None = None,
) -> Iterator[RunningHilum]:
    """Runs a program that takes `--settings` and `--gateway` as the receive process does."""
    dicom_port, http_port = free_ports(2)
    spool = directory / "spool"
    tree = _settings(directory, dicom_port, http_port)
    tree["gateways"][GATEWAY]["spool"] = {"directory": str(spool), **spool_settings}
    if workers is not None:
        tree["gateways"][GATEWAY]["workers"] = workers
    settings = directory / "settings.toml"
    directory.mkdir(parents=True, exist_ok=True)
    write_private(settings, to_toml(tree))
    arguments = [*command, "--settings", str(settings), "--gateway", GATEWAY]
    try:
        with own_process(name, arguments, directory) as process:
            target = Target("127.0.0.1", dicom_port, AE_TITLE)
            running = RunningHilum(process, target, spool, http_port)
            try:
                running.wait_until_ready()
                yield running
            finally:
                running.close()
    finally:
        shutil.rmtree(spool, ignore_errors=True)


def _settings(directory: Path, dicom_port: int, http_port: int) -> dict[str, Any]:
    tree = local_stack_tree(directory, 0)
    tree["gateways"] = {
        GATEWAY: {
            "site": GATEWAY,
            "ae_title": AE_TITLE,
            "dicom_port": dicom_port,
            "http_port": http_port,
            "admit": [{"calling_ae_title": "*", "network": "127.0.0.0/8"}],
        }
    }
    return tree
