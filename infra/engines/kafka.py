"""Apache Kafka for one machine: jars by a small pom, one KRaft node that is broker and controller.

Invariant: broker limits are the stock ones (`message.max.bytes` above all), so what works here
works on any Kafka. It must not create topics: provisioning does, and auto-creation is off.
"""

from __future__ import annotations

import base64
import os
import shutil
import uuid
from pathlib import Path

from infra.engines.cache import Report, engine_directory, obtain, run_tool, silent
from infra.engines.program import Probe, Program

KAFKA_VERSION = "4.3.0"
# Of this pom's shape: a change of the jars is another directory in the cache.
_CACHE_NAME = f"kafka-{KAFKA_VERSION}-1"
_HERE = Path(__file__).parent
HEAP = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")


def is_kafka_cached() -> bool:
    """Whether nothing has to be downloaded."""
    return engine_directory(_CACHE_NAME).is_dir()


def kafka_jars(report: Report = silent) -> Path:
    """The directory of all jars, fetched from Maven's repositories once."""

    def build(directory: Path) -> None:
        report(f"fetching Kafka {KAFKA_VERSION}")
        shutil.copy(_HERE / "pom.xml", directory / "pom.xml")
        goal = "dependency:copy-dependencies"
        command = ("mvn", "-B", "-ntp", goal, f"-DoutputDirectory={directory / 'lib'}")
        run_tool(command, {}, directory, report)

    return obtain(_CACHE_NAME, build) / "lib"


def kafka_program(data: Path, port: int, controller_port: int, report: Report = silent) -> Program:
    """A formatted node that keeps everything under `data` and listens on loopback alone."""
    jars = kafka_jars(report)
    data.mkdir(parents=True, exist_ok=True)
    configuration = data / "server.properties"
    configuration.write_text(_properties(data, port, controller_port), encoding="utf-8")
    classpath = f"{jars}{os.sep}*"
    if not (data / "log" / "meta.properties").exists():
        report("formatting Kafka's storage")
        tool = ("kafka.tools.StorageTool", "format", "-t", _new_cluster_id())
        arguments = ("-c", str(configuration), "--ignore-formatted")
        run_tool(("java", "-cp", classpath, *tool, *arguments), {}, data, silent)
    logging = f"-Dlog4j2.configurationFile={_HERE / 'kafka-log4j2.properties'}"
    return Program(
        name="kafka",
        command=("java", *HEAP, logging, "-cp", classpath, "kafka.Kafka", str(configuration)),
        directory=data,
        probe=Probe("kafka", port),
    )


def _new_cluster_id() -> str:
    # Kafka refuses ids that begin with a dash: its tools would take them for an option.
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _properties(data: Path, port: int, controller_port: int) -> str:
    values = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data / "log"),
        "auto.create.topics.enable": "false",
        # One node: Kafka's own topics cannot have three replicas.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Consumers start one after the other and stay: waiting 3 s for more buys nothing.
        "group.initial.rebalance.delay.ms": "0",
        # After a kill -9 a node is let in again when its old session is over (9 s by default).
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "1000",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())
