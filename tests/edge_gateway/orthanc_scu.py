"""Orthanc as a modality: it echoes, stores, asks for commitment, and takes the report.

Invariant: it is asked over its REST interface alone, and its process is gone when the block ends.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from operations.peers import find
from operations.ports import free_ports
from tests.edge_gateway.forwarding import eventually


def orthanc_program() -> str:
    """Where it is; the test is skipped without it."""
    program = find("Orthanc")
    if program is None:
        pytest.skip("Orthanc is not installed: apt-get install orthanc")
    return program


class OrthancScu:
    """An Orthanc of one test; `peers` are called AE title and port on loopback by a name."""

    def __init__(self, directory: Path, peers: Mapping[str, tuple[str, int]]) -> None:
        self.dicom_port, self._http_port = free_ports(2)
        self._configuration = directory / "orthanc.json"
        self._log = directory / "orthanc.log"
        self._configuration.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(directory / "orthanc"),
                    "IndexDirectory": str(directory / "orthanc"),
                    "DicomAet": "ORTHANC",
                    "DicomPort": self.dicom_port,
                    "HttpPort": self._http_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomModalities": {
                        name: [called, "127.0.0.1", port] for name, (called, port) in peers.items()
                    },
                }
            )
        )

    @contextmanager
    def running(self, program: str) -> Iterator[OrthancScu]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [program, str(self._configuration)], stdout=log, stderr=log, cwd=self._log.parent
            )
        try:
            eventually(self._is_up, "Orthanc answers")
            yield self
        finally:
            process.kill()
            process.wait()

    def ask(self, path: str, body: object | None = None) -> Any:
        """The JSON of one request to its REST interface."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._http_port}{path}", data)
        with urllib.request.urlopen(request, timeout=90) as answer:
            return json.loads(answer.read())

    def _is_up(self) -> bool:
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False
