"""Orthanc as a measured receiver: Debian's binary, its defaults, an archive and index of its own.

Invariant: the configuration names directories, ports and who may call, and the one option that a
variant is about. No plugin is loaded. Must not use Orthanc's REST interface during a measurement.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contracts.failures import FatalError
from infra.engines.program import Probe
from load.receivers.process import (
    OwnProcess,
    ProcessReceiver,
    first_line,
    own_process,
)
from load.senders.model import Target
from operations.peers import find
from operations.ports import free_ports

PROGRAM = "Orthanc"
PACKAGE = "orthanc"
AE_TITLE = "ORTHANC"


class RunningOrthanc(ProcessReceiver):
    """An Orthanc that is replaced by a fresh one when it is cleared; its ports stay.

    Deleting through its REST interface costs it a file and rows for each instance: killing it and
    starting with an empty directory took 0.1 s here (asked to stop it took 3.4 s), whatever was in
    it before. What it could not finish by then is deleted anyway.
    """

    def __init__(self, directory: Path, syncs_storage: bool) -> None:
        self._directory = directory
        self._archive = directory / "archive"
        dicom_port, self._http_port = free_ports(2)
        self._cpu_before_s = 0.0
        self._lifetime = ExitStack()
        target = Target("127.0.0.1", dicom_port, AE_TITLE)
        self._configuration = directory / "orthanc.json"
        directory.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            json.dumps(self._options(dicom_port, syncs_storage), indent=1)
        )
        super().__init__(self._start(), target)

    def cpu_s(self) -> float:
        """CPU seconds since the first start; what `clear` itself took is among them."""
        return self._cpu_before_s + super().cpu_s()

    def clear(self) -> None:
        """Ends it, deletes archive and index, and starts it again. Raises FatalError."""
        self._cpu_before_s = self.cpu_s()
        self.close()
        self._process = self._start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Returns once its web server and a C-ECHO are answered."""
        probe = Probe("http", self._http_port, "/system")
        self._process.wait_until(lambda: probe.ask().is_ready, "not ready")
        self.wait_for_echo()

    def close(self) -> None:
        """Ends it and deletes what it received."""
        self._lifetime.close()
        shutil.rmtree(self._archive, ignore_errors=True)

    def _start(self) -> OwnProcess:
        program = find(PROGRAM)
        if program is None:
            raise FatalError("Orthanc is not installed", f"apt-get install {PACKAGE}")
        self._archive.mkdir(parents=True, exist_ok=True)
        command = [program, str(self._configuration)]
        process = own_process("orthanc", command, self._directory, is_killed=True)
        return self._lifetime.enter_context(process)

    def _options(self, dicom_port: int, syncs_storage: bool) -> dict[str, object]:
        return {
            "Name": "Measured",
            "StorageDirectory": str(self._archive),
            "IndexDirectory": str(self._archive),
            "DicomAet": AE_TITLE,
            "DicomPort": dicom_port,
            "HttpPort": self._http_port,
            # Off: the web server listens on loopback alone and asks nobody for a password.
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "SyncStorageArea": syncs_storage,
        }


def version() -> str | None:
    """As the program says it; None when it is not installed."""
    program = find(PROGRAM)
    line = first_line([program, "--version"]) if program else None
    return line.split()[-1] if line else None


@contextmanager
def run_orthanc(directory: Path) -> Iterator[RunningOrthanc]:
    """With its defaults: each file is flushed before the answer, SQLite's log is not."""
    with _running(RunningOrthanc(directory, syncs_storage=True)) as running:
        yield running


@contextmanager
def run_orthanc_noflush(directory: Path) -> Iterator[RunningOrthanc]:
    """With `SyncStorageArea` off: nothing is flushed before the answer."""
    with _running(RunningOrthanc(directory, syncs_storage=False)) as running:
        yield running


@contextmanager
def _running(orthanc: RunningOrthanc) -> Iterator[RunningOrthanc]:
    try:
        orthanc.wait_until_ready()
        yield orthanc
    finally:
        orthanc.close()
