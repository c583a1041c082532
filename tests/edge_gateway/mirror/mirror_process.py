"""A mirror process in a thread of the test, over a disk that the test may break; no Kafka.

Invariant: what decides is the process's own loop; only its HTTP port is left out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_gateway.mirror.process import MirrorProcess
from edge_gateway.spool import FileSystem
from infra.local_stack import local_stack_tree
from infra.settings import Settings, overlay, validate
from operations.ports import free_ports
from tests.edge_gateway.forwarding import MIB


def settings_with_mirror(directory: Path, rules: list[Any], **spool: Any) -> Settings:
    """Gateway north over two directories; nobody listens where Kafka should be."""
    kafka, http, forwarder, mirror = free_ports(4)
    tree = local_stack_tree(directory / "state", 0)
    tree["gateways"] = {
        "north": {
            "site": "north",
            "ae_title": "NORTH",
            "dicom_port": 0,
            "http_port": http,
            "forwarder_http_port": forwarder,
            "mirror_http_port": mirror,
            "admit": rules,
            "spool": {
                "directory": str(directory / "first"),
                "mirror_directory": str(directory / "second"),
                "mirror_may_share_disk": True,
                "segment_bytes": MIB,
                "free_bytes_min": 0,
            },
        }
    }
    changes = {
        "kafka": {"bootstrap_servers": f"127.0.0.1:{kafka}"},
        "gateways": {"north": {"spool": spool}},
    }
    return validate(overlay(tree, changes), "tests")


@contextmanager
def mirroring(settings: Settings, fs: FileSystem | None = None) -> Iterator[MirrorProcess]:
    """It runs until the block ends."""
    process, stop = MirrorProcess(settings, "north", fs), threading.Event()
    thread = threading.Thread(target=process.run, args=(stop,))
    thread.start()
    try:
        yield process
    finally:
        stop.set()
        thread.join()
