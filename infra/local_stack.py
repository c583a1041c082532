"""The settings of the local stack: both sites, two gateways and all ports on loopback.

Invariant: the only place that knows the local ports; what it yields is validated like any other
settings, and only here may replication be 1 and plain text be admitted, because everything
listens on 127.0.0.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

MIB = 1024 * 1024

CONSUMER_HTTP_PORTS = {
    "object-archive": 9231,
    "metadata-index": 9232,
    "dr-replica": 9233,
    "usage-analytics": 9234,
    "custody-proof": 9235,
}
PACK_KEEPER_HTTP_PORT = 9230
LOCAL_GATEWAYS = {"north": (11112, 9212, 9222), "south": (11113, 9213, 9223)}
KAFKA_PORT, KAFKA_CONTROLLER_PORT = 9092, 9093
MINIO_PORTS = {"primary": (9000, 9001), "dr": (9100, 9101)}
CLICKHOUSE_PORTS = {"primary": 8123, "dr": 8124}
REGISTRY_PORT = 8081
ACCESS_KEY, SECRET_KEY = "hilum", "hilum-local-secret"


def local_stack_tree(state_directory: Path, port_offset: int) -> dict[str, Any]:
    """The settings as a plain tree, ready for `settings.validate` and for writing as TOML."""
    return {
        "kafka": {
            "bootstrap_servers": f"127.0.0.1:{KAFKA_PORT + port_offset}",
            "replication_factor": 1,
            "min_insync_replicas": 1,
        },
        "primary": _site("primary", port_offset),
        "dr": _site("dr", port_offset),
        "gateways": {
            name: _gateway(name, ports, state_directory, port_offset)
            for name, ports in LOCAL_GATEWAYS.items()
        },
        "consumers": _consumers(port_offset),
        "packs": {"http_port": PACK_KEEPER_HTTP_PORT + port_offset},
        "proofs": {
            "key_file": str(state_directory / "proofs" / "signing.key"),
            "root_interval_s": 60,
        },
        "schema_registry": {"port": REGISTRY_PORT + port_offset},
        "scratch_directory": str(state_directory / "scratch"),
    }


def _consumers(port_offset: int) -> dict[str, dict[str, Any]]:
    consumers: dict[str, dict[str, Any]] = {
        name: {"http_port": port + port_offset} for name, port in CONSUMER_HTTP_PORTS.items()
    }
    # Whoever tries Hilum out asks for a proof at once; a site can wait a minute for its leaves.
    consumers["custody-proof"]["batch_age_ms_max"] = 1_000
    return consumers


def _site(name: str, port_offset: int) -> dict[str, Any]:
    return {
        "name": name,
        "object_store": {
            "endpoint": f"127.0.0.1:{MINIO_PORTS[name][0] + port_offset}",
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "secure": False,
        },
        "clickhouse": {
            "host": "127.0.0.1",
            "port": CLICKHOUSE_PORTS[name] + port_offset,
            "secure": False,
        },
    }


def _gateway(
    name: str, ports: tuple[int, int, int], state_directory: Path, port_offset: int
) -> dict[str, Any]:
    dicom_port, http_port, forwarder_http_port = (port + port_offset for port in ports)
    return {
        "site": name,
        "ae_title": name.upper(),
        "dicom_port": dicom_port,
        "http_port": http_port,
        "forwarder_http_port": forwarder_http_port,
        "admit": [{"calling_ae_title": "*", "network": "127.0.0.0/8"}],
        # Segments of 64 MiB: two gateways fill theirs with zeros at first start in seconds.
        "spool": {"directory": str(state_directory / f"spool-{name}"), "segment_bytes": 64 * MIB},
    }
