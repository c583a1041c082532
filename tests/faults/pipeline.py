"""The pipeline of the laboratory: the product's real processes on real engines, behind proxies.

Invariant: Kafka is the pipeline's own, so that it can be killed and emptied; stores and indexes are
shared engines under names of its own, reached by the product through proxies only. Every process
that it started is gone when it is closed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from contracts.failures import HilumError
from contracts.topics import PACK_ARCHIVED, PACK_REPLICATED, RECEIPT, RECEIVED, Topic
from infra.cluster_view import ClusterView
from infra.engines.kafka import kafka_program
from infra.provision import provision
from infra.settings import Settings, SiteSettings, overlay, validate
from operations.ports import free_ports
from operations.stack_files import to_toml
from tests.engines import _die_with_parent, _to_json, isolated_settings, start_engines
from tests.faults.archive_reading import Site, run
from tests.faults.clients import Target
from tests.faults.http_proxy import HttpProxy
from tests.polling import eventually, succeeded

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
STOP_S = 20.0
RECEIVE, FORWARD = "receive", "forward"
INPUTS: dict[str, tuple[Topic, ...]] = {
    "object-archive": (RECEIVED,),
    "metadata-index": (RECEIVED, PACK_ARCHIVED, PACK_REPLICATED, RECEIPT),
    "dr-replica": (PACK_ARCHIVED,),
}
PROCESSES = (RECEIVE, FORWARD, *INPUTS)
# Several packs and inserts of a run of some dozen instances.
QUICK = {"batch_age_ms_max": 200, "batch_records_max": 12}


class Pipeline:
    """One gateway, its forwarder, the archive, the index and the second site."""

    def __init__(self, engines: Settings, directory: Path) -> None:
        self.directory = directory
        # A child ends with the thread that started it: one that lasts as long as the pipeline.
        self._starter = ThreadPoolExecutor(1, "starter")
        self.kafka = start_engines(directory / "kafka", only=lambda name: name == "kafka")
        self.settings = _settings(engines, self.kafka.settings, directory)
        self.proxies: dict[str, HttpProxy] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._file = directory / "settings.toml"
        self._file.write_text(to_toml(self._proxied()))
        self.view = ClusterView(self.settings.kafka)
        provision(self.settings)

    def start(self, *names: str) -> None:
        """Starts processes; `await_ready` says when they work."""
        for name in names or PROCESSES:
            self._starter.submit(self._start, name).result()

    def await_ready(self, *names: str) -> None:
        """Returns once these (all) say that they are ready; a process that ended fails it."""
        for name in names or PROCESSES:
            eventually(partial(self._is_ready, name), f"{name} ready: {self.log(name)}")

    def kill(self, name: str) -> None:
        """kill -9; returns once it is gone."""
        self._children[name].kill()
        self._children[name].wait(STOP_S)

    def signal(self, name: str, number: int) -> None:
        """A signal to one process, or to the broker."""
        child = self.kafka.processes["kafka"] if name == "kafka" else self._children[name]
        child.send_signal(number)

    def restart_kafka(self) -> None:
        """The broker on what its log directories hold."""
        self._starter.submit(self.kafka.start, "kafka").result()
        self.kafka.await_ready()

    def empty_kafka(self) -> None:
        """The broker is killed, its log directories are deleted, a new one stands in its place."""
        self.kafka.kill("kafka")
        data = self.kafka.directory / "kafka"
        shutil.rmtree(data)
        port = int(self.settings.kafka.bootstrap_servers.rpartition(":")[2])
        self.kafka.programs["kafka"] = kafka_program(data, port, port + 1)
        self.restart_kafka()
        succeeded(lambda: provision(self.settings), "topics there again")

    def target(self) -> Target:
        """Where a modality sends to."""
        gateway = self.settings.gateways["north"]
        return Target(gateway.dicom_port, gateway.ae_title)

    def site(self, name: str) -> Site:
        """How the checker reaches a site: not through the proxies."""
        return site_of(self.settings, name)

    def lag(self, name: str) -> int:
        """Records that a consumer has not committed; a busy broker is asked again."""
        return succeeded(lambda: self._lag(name), f"the lag of {name}")

    def _lag(self, name: str) -> int:
        found = self.view.group_lag(name, [topic.name for topic in INPUTS[name]])
        return sum(lag.records for lag in found.values())

    def gauges(self) -> dict[str, float]:
        """What must be 0 at rest; what cannot be asked now is left out."""
        found: dict[str, float] = {}
        for name in INPUTS:
            with suppress(HilumError):
                found[f"lag of {name}, records"] = self._lag(name)
        held = self.metric(FORWARD, 'hilum_spool_deliveries{state="spooled"}')
        published = self.metric(FORWARD, 'hilum_spool_deliveries{state="published"}')
        if held is not None:
            found["spooled and not published"] = held
        if published is not None:
            found["published and not archived"] = published
        return found

    def log(self, name: str) -> str:
        """The end of a process's log."""
        return (self.directory / f"{name}.log").read_text(errors="replace")[-3000:]

    def exit_codes(self) -> dict[str, int]:
        """Processes that ended, with their codes."""
        codes = {name: child.poll() for name, child in self._children.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def close(self) -> None:
        """Ends everything and removes what it made."""
        for child in self._children.values():
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGCONT)
            child.kill()
            child.wait()
        for proxy in self.proxies.values():
            proxy.close()
        self.view.close()
        self.kafka.stop()
        self._starter.shutdown()

    def _start(self, name: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                [sys.executable, "-m", *self._command(name), "--settings", str(self._file)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent(),
            )

    def _command(self, name: str) -> tuple[str, ...]:
        if name in (RECEIVE, FORWARD):
            return ("edge_gateway", name, "--gateway", "north")
        return ("consumers", name)

    def _is_ready(self, name: str) -> bool:
        code = self._children[name].poll()
        assert code is None, f"{name} ended with {code}: {self.log(name)}"
        try:
            with urllib.request.urlopen(f"{self._url(name)}/readyz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def metric(self, name: str, series: str) -> float | None:
        """The sum of a process's series that begin so; None where it cannot be asked now."""
        try:
            with urllib.request.urlopen(f"{self._url(name)}/metrics", timeout=5) as got:
                lines = got.read().decode().splitlines()
        except OSError:
            return None
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))

    def _url(self, name: str) -> str:
        gateway = self.settings.gateways["north"]
        ports = {RECEIVE: gateway.http_port, FORWARD: gateway.forwarder_http_port}
        port = ports[name] if name in ports else self.settings.consumer(name).http_port
        return f"http://127.0.0.1:{port}"

    def _proxied(self) -> dict[str, Any]:
        """The settings that the processes get."""
        tree: dict[str, Any] = json.loads(_to_json(self.settings))
        for site in ("primary", "dr"):
            store, index = tree[site]["object_store"], tree[site]["clickhouse"]
            host, _, port = store["endpoint"].rpartition(":")
            to_store = self.proxies[f"{site} store"] = HttpProxy(host, int(port))
            to_index = self.proxies[f"{site} index"] = HttpProxy(index["host"], index["port"])
            store["endpoint"], index["port"] = to_store.endpoint, to_index.port
        # TOML has no null: what is not set is left out.
        tree["gateways"] = {
            "north": self.settings.gateways["north"].model_dump(mode="json", exclude_none=True)
        }
        return tree


def site_of(settings: Settings, name: str) -> Site:
    """How a site is reached by whoever trusts no code of ours."""
    site: SiteSettings = getattr(settings, name)
    store, index = site.object_store, site.clickhouse
    return Site(
        name,
        store.endpoint,
        store.access_key,
        store.secret_key.get_secret_value(),
        store.bucket,
        f"http://{index.host}:{index.port}",
        index.database,
    )


@contextmanager
def running_pipeline(engines: Settings, directory: Path) -> Iterator[Pipeline]:
    """A pipeline that is ready, for the length of a block."""
    pipeline = Pipeline(engines, directory)
    try:
        pipeline.start()
        pipeline.await_ready()
        yield pipeline
    finally:
        pipeline.close()
        for site in ("primary", "dr"):
            with suppress(OSError):
                _drop_database(pipeline.site(site))


def _settings(engines: Settings, kafka: Settings, directory: Path) -> Settings:
    tree = json.loads(_to_json(isolated_settings(engines, directory)))
    tree["kafka"] = json.loads(_to_json(kafka))["kafka"]
    ports = iter(free_ports(3 + len(INPUTS)))
    north = {
        "dicom_port": next(ports),
        "http_port": next(ports),
        "forwarder_http_port": next(ports),
        "state_interval_s": 0.5,
        "spool": {"segment_bytes": 4 * MIB, "free_bytes_min": 0},
    }
    tree["gateways"] = {"north": overlay(tree["gateways"]["north"], north)}
    tree["consumers"] = {name: {"http_port": next(ports), **QUICK} for name in INPUTS}
    return validate(tree, "tests")


def _drop_database(site: Site) -> None:
    run(site, f"DROP DATABASE IF EXISTS {site.database} SYNC")
