"""Every setting of Hilum, validated once at the start of a process.

Invariant: no default weakens a guarantee, an unknown key is an error that names the nearest
match, and nothing else in the repository reads the environment. Sources, later ones win: the
TOML file, then `HILUM__SECTION__KEY` environment variables (a `_FILE` suffix names a file that
holds the value, for secrets).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from contracts.failures import FatalError
from infra.settings_admission import AdmitRule
from infra.settings_commitment import CommitmentSettings
from infra.settings_errors import explain
from infra.settings_forwarding import ForwardingSettings
from infra.settings_packs import PackSettings
from infra.settings_proofs import ProofSettings
from infra.settings_section import Section
from infra.settings_spool import SpoolSettings
from infra.settings_tls import GatewayTls

MIB = 1024 * 1024
GIB = 1024 * MIB


class KafkaSettings(Section):
    """The bus. Any Kafka from 3.7 on, reached with TLS and SASL where the cluster asks for it."""

    bootstrap_servers: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    replication_factor: int = Field(default=3, ge=1, le=9)
    min_insync_replicas: int = Field(default=2, ge=1, le=9)
    topic_prefix: str = Field(default="", pattern=r"^[a-zA-Z0-9._-]*$")
    request_timeout_ms: int = Field(default=30_000, ge=1_000)
    delivery_timeout_ms: int = Field(default=120_000, ge=5_000)
    payload_retention_ms: int = Field(default=24 * 3_600_000, ge=1_000)
    payload_retention_bytes: int = Field(default=8 * GIB, ge=MIB)


class ObjectStoreSettings(Section):
    """One site's S3-compatible store and its bucket."""

    endpoint: str = Field(description="host:port, without a scheme")
    access_key: str
    secret_key: SecretStr
    secure: bool = True
    region: str = "us-east-1"
    bucket: str = "hilum-archive"
    ca_file: Path | None = None


class ClickHouseSettings(Section):
    """One site's ClickHouse, over HTTP(S)."""

    host: str
    port: int = Field(ge=1, le=65_535)
    username: str = "default"
    password: SecretStr = SecretStr("")
    secure: bool = True
    database: str = Field(default="hilum", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    ca_file: Path | None = None


class SiteSettings(Section):
    """Where one copy of the archive lives."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    object_store: ObjectStoreSettings
    clickhouse: ClickHouseSettings


class GatewaySettings(Section):
    """One edge gateway: its DICOM listener, its spool and its forwarder.

    `workers` are the processes that receive, each with a spool of its own below the spool's
    directory; every limit is the gateway's, whatever their number. None: one for each two cores,
    8 at most and no more than `spool_bytes_max` has room for, and one where a mirror or a quota
    follows the log.
    """

    site: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    ae_title: str = Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")
    bind: str = "127.0.0.1"
    dicom_port: int = Field(default=11112, ge=0, le=65_535)
    http_port: int = Field(default=9212, ge=0, le=65_535)
    forwarder_http_port: int = Field(default=9222, ge=0, le=65_535)
    mirror_http_port: int = Field(default=9202, ge=0, le=65_535)
    # Deny by default: an empty list admits nobody.
    admit: tuple[AdmitRule, ...] = ()
    allow_plain_text_beyond_loopback: bool = False
    tls: GatewayTls | None = None
    spool: SpoolSettings
    workers: int | None = Field(
        default=None, ge=1, le=16, description="processes that receive; see docs/workers.md"
    )
    associations_max: int = Field(default=256, ge=1, le=4096)
    pdu_bytes_max: int = Field(default=256 * 1024, ge=16 * 1024, le=4 * MIB)
    idle_timeout_s: int = Field(default=600, ge=5)
    operations_window_max: int = Field(default=16, ge=1, le=256)
    published_unarchived_bytes_max: int = Field(default=GIB, ge=MIB)
    publish_in_flight_bytes_max: int = Field(default=64 * MIB, ge=MIB)
    state_interval_s: float = Field(default=10.0, gt=0, le=60)
    receipt_page_age_s: float = Field(default=60.0, gt=0, le=60)
    forwarding: ForwardingSettings = ForwardingSettings()
    commitment: CommitmentSettings = CommitmentSettings()

    @model_validator(mode="after")
    def _rules_can_be_kept(self) -> GatewaySettings:
        for number, rule in enumerate(self.admit):
            if rule.certificate and (self.tls is None or self.tls.client_ca_file is None):
                raise ValueError(f"admit[{number}].certificate needs tls with client_ca_file")
            if (rule.object_bytes_max or 0) > self.spool.object_bytes_max:
                raise ValueError(f"admit[{number}].object_bytes_max is above the spool's own")
        return self

    @model_validator(mode="after")
    def _mirror_is_there(self) -> GatewaySettings:
        asking = [f"admit[{n}]" for n, rule in enumerate(self.admit) if rule.level == "mirror"]
        if asking and self.spool.mirror_directory is None:
            raise ValueError(
                f"level 'mirror' ({', '.join(asking)}) needs spool.mirror_directory,"
                " a directory on a second disk"
            )
        if self.one_log_for and (self.workers or 1) > 1:
            raise ValueError(f"{self.one_log_for} needs workers = 1: it follows one log")
        return self

    @property
    def one_log_for(self) -> str:
        """The setting that follows one log, so that there is one worker; '' for none."""
        if self.spool.mirror_directory is not None:
            return "spool.mirror_directory"
        for number, rule in enumerate(self.admit):
            if rule.unarchived_bytes_max is not None:
                return f"admit[{number}].unarchived_bytes_max"
        return ""


class ConsumerSettings(Section):
    """Batches, deadlines and the metrics port of one consumer; None takes the consumer's own.

    `memory_bytes_max` (packs held in memory; 0 puts each on the scratch disk) and
    `transfers_at_once` belong to object-archive and dr-replica; elsewhere they are refused.
    """

    http_port: int = Field(default=0, ge=0, le=65_535)
    batch_records_max: int | None = Field(default=None, ge=1, le=100_000)
    batch_bytes_max: int | None = Field(default=None, ge=1)
    batch_age_ms_max: int | None = Field(default=None, ge=0, le=60_000)
    memory_bytes_max: int | None = Field(default=None, ge=0)
    transfers_at_once: int | None = Field(default=None, ge=1, le=8)


class RegistrySettings(Section):
    """The read-only Schema Registry endpoint."""

    bind: str = "127.0.0.1"
    port: int = Field(default=8081, ge=0, le=65_535)


class LocalSettings(Section):
    """Which engines `hilum up` starts itself; false where the settings point at a real one."""

    kafka: bool = True
    object_stores: bool = True
    clickhouses: bool = True


class Settings(Section):
    """Everything. `primary` and `dr` are the two sites of the archive."""

    kafka: KafkaSettings
    primary: SiteSettings
    dr: SiteSettings
    gateways: dict[str, GatewaySettings] = Field(default_factory=dict)
    consumers: dict[str, ConsumerSettings] = Field(default_factory=dict)
    schema_registry: RegistrySettings = RegistrySettings()
    local: LocalSettings = LocalSettings()
    packs: PackSettings = PackSettings()
    proofs: ProofSettings = ProofSettings()
    scratch_directory: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Settings:
        if self.primary.name == self.dr.name:
            raise ValueError("primary.name and dr.name must differ")
        if self.kafka.min_insync_replicas > self.kafka.replication_factor:
            raise ValueError("kafka.min_insync_replicas is larger than kafka.replication_factor")
        return self

    @model_validator(mode="after")
    def _levels_can_be_kept(self) -> Settings:
        weak = [
            f"gateways.{name}.admit[{number}]"
            for name, gateway in self.gateways.items()
            for number, rule in enumerate(gateway.admit)
            if rule.level == "kafka"
        ]
        if weak and self.kafka.min_insync_replicas < 2:
            raise ValueError(
                f"level 'kafka' ({', '.join(weak)}) needs kafka.min_insync_replicas of 2 or more:"
                " below that an acknowledgement is the word of one machine"
            )
        return self

    def gateway(self, name: str) -> GatewaySettings:
        """The gateway called `name`. Raises FatalError with the names there are."""
        try:
            return self.gateways[name]
        except KeyError:
            known = ", ".join(sorted(self.gateways)) or "none"
            raise FatalError(
                f"no gateway {name!r} in the settings (there is: {known})",
                f"add a [gateways.{name}] table",
            ) from None

    def consumer(self, name: str) -> ConsumerSettings:
        """The settings of a consumer; its own limits where nothing is set."""
        return self.consumers.get(name, ConsumerSettings())


def load(path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in a TOML file and the environment, validated.

    Raises FatalError naming each faulty key, what was expected and, for an unknown one, the
    nearest match.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise FatalError(
            f"reading the settings {path}: {cause.strerror}", "name an existing file"
        ) from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise FatalError(f"reading the settings {path}: {cause}", "correct the TOML") from cause
    return validate(overlay(tree, _from_environment(environment or os.environ)), str(path))


def validate(tree: Mapping[str, Any], source: str) -> Settings:
    """Settings from plain values. Raises FatalError as `load` does."""
    try:
        return Settings.model_validate(tree)
    except ValidationError as cause:
        problems = explain(cause, Settings)
        raise FatalError(
            f"{len(problems)} problem(s) in the settings {source}:\n  " + "\n  ".join(problems),
            "correct them and start again",
        ) from cause


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.startswith("HILUM__"):
            continue
        path = [part.lower() for part in name.removeprefix("HILUM__").split("__")]
        if path[-1].endswith("_file") and path[-1] in (
            "secret_key_file",
            "password_file",
            "sasl_password_file",
        ):
            path[-1] = path[-1].removesuffix("_file")
            value = Path(value).read_text(encoding="utf-8").rstrip("\n")
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = value
    return tree


def overlay(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the tables of `over` merged in; values of `over` win."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping):
            merged[key] = overlay(below, value)
        else:
            merged[key] = value
    return merged
