"""Which engine processes a set of settings needs on this machine, and their programs.

Invariant: ports and credentials come from the settings that every client reads, so a client
and its engine cannot disagree. It must not touch an engine that the settings say is not local.
"""

from __future__ import annotations

import sys
from pathlib import Path

from contracts.failures import FatalError
from infra.engines.cache import Report, silent
from infra.engines.kafka import kafka_program
from infra.engines.program import Probe, Program
from infra.engines.s3 import minio_program
from infra.settings import Settings, SiteSettings

CHECKOUT = Path(__file__).resolve().parents[2]


def engine_programs(
    settings: Settings, state_directory: Path, report: Report = silent
) -> list[Program]:
    """Obtain what is missing, prepare data directories, and give the programs, Kafka first.

    Raises FatalError when an engine cannot be obtained or its address is not on loopback.
    """
    programs: list[Program] = []
    sites = (("primary", settings.primary), ("dr", settings.dr))
    if settings.local.kafka:
        port = _loopback_port(settings.kafka.bootstrap_servers)
        programs.append(kafka_program(state_directory / "kafka", port, port + 1, report))
    if settings.local.object_stores:
        programs += [_minio(name, site, state_directory, report) for name, site in sites]
    if settings.local.clickhouses:
        programs += [_clickhouse(name, site, state_directory) for name, site in sites]
    return programs


def engine_ports(settings: Settings) -> dict[str, tuple[int, ...]]:
    """The ports of each engine that runs here, by process name. Starts and obtains nothing."""
    ports: dict[str, tuple[int, ...]] = {}
    sites = (("primary", settings.primary), ("dr", settings.dr))
    if settings.local.kafka:
        broker = _loopback_port(settings.kafka.bootstrap_servers)
        ports["kafka"] = (broker, broker + 1)
    for name, site in sites if settings.local.object_stores else ():
        store = _loopback_port(site.object_store.endpoint)
        ports[f"minio-{name}"] = (store, store + 1)
    for name, site in sites if settings.local.clickhouses else ():
        address = f"{site.clickhouse.host}:{site.clickhouse.port}"
        ports[f"clickhouse-{name}"] = (_loopback_port(address),)
    return ports


def python_environment() -> dict[str, str]:
    """What a Python process of this checkout needs, whatever directory it starts in."""
    return {"PYTHONPATH": str(CHECKOUT), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _minio(name: str, site: SiteSettings, state_directory: Path, report: Report) -> Program:
    store = site.object_store
    credentials = (store.access_key, store.secret_key.get_secret_value())
    data = state_directory / f"minio-{name}"
    return minio_program(name, data, _loopback_port(store.endpoint), credentials, report)


def _clickhouse(name: str, site: SiteSettings, state_directory: Path) -> Program:
    port = _loopback_port(f"{site.clickhouse.host}:{site.clickhouse.port}")
    data = state_directory / f"clickhouse-{name}"
    data.mkdir(parents=True, exist_ok=True)
    module = ("-m", "infra.engines.clickhouse_server")
    return Program(
        name=f"clickhouse-{name}",
        command=(sys.executable, *module, "--data", str(data / "data"), "--port", str(port)),
        directory=data,
        probe=Probe("http", port, "/ping"),
        environment=python_environment(),
    )


def _loopback_port(address: str) -> int:
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdigit():
        raise FatalError(
            f"starting a local engine at {address}: it is not on 127.0.0.1",
            "set the matching value in [local] to false to use an engine that runs elsewhere",
        )
    return int(port)
