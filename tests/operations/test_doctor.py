"""The doctor beside a real gateway and real engines, and where there is nothing at all."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.failures import EXIT_FAILED, FatalError
from infra.local_stack import local_stack_tree
from infra.provision import provision
from infra.settings import Settings, overlay, validate
from operations.doctor import checks_of
from operations.doctor_clock import skew_s
from operations.doctor_peer import PeerAnswer, examine_peer
from operations.doctor_spool import FLUSHES, flush_figures
from operations.findings import Check, Finding, examine
from operations.ports import free_ports
from operations.stack_files import to_toml
from tests.edge_gateway.association.authority import Authority
from tests.edge_gateway.running_gateway import AE_TITLE, running_gateway
from tests.polling import eventually, succeeded

ROOT = Path(__file__).resolve().parents[2]
SITES = ("primary", "dr")
UP = "./hilum up --detach"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


Findings = dict[tuple[str, str], Finding]


def found(settings: Settings) -> Findings:
    findings = examine(checks_of(settings, UP), lambda _line: None)
    return {(finding.subject, finding.check): finding for finding in findings}


def found_well(settings: Settings, *well: tuple[str, str]) -> Findings:
    """What is found once these are well: what is busy when it is asked is not."""
    looks: list[Findings] = []

    def are_well() -> bool:
        looks.append(found(settings))
        return all(looks[-1][one].verdict == "ok" for one in well)

    eventually(are_well, f"{well} are well")
    return looks[-1]


def examined(settings: Settings, title: str, gateway: str | None) -> PeerAnswer:
    """What a modality is told by a gateway that answers its C-ECHO, however busy it is."""
    answers: list[PeerAnswer] = []

    def is_answered() -> bool:
        answers.append(examine_peer(settings, title, gateway))
        return answers[-1].ok and "0000H" in answers[-1].echo[0]

    eventually(is_answered, "an answer to C-ECHO")
    return answers[-1]


def nowhere(directory: Path) -> dict[str, Any]:
    """Settings whose ports nobody listens on."""
    tree = local_stack_tree(directory, 0)
    ports = iter(free_ports(24))
    tree["kafka"]["bootstrap_servers"] = f"127.0.0.1:{next(ports)}"
    for site in ("primary", "dr"):
        tree[site]["object_store"]["endpoint"] = f"127.0.0.1:{next(ports)}"
        tree[site]["clickhouse"]["port"] = next(ports)
    for gateway in tree["gateways"].values():
        for key in ("dicom_port", "http_port", "forwarder_http_port"):
            gateway[key] = next(ports)
    for consumer in tree["consumers"].values():
        consumer["http_port"] = next(ports)
    tree["schema_registry"]["port"] = next(ports)
    return tree


def gateway_tree(settings: Settings, **changes: Any) -> Settings:
    """The same settings with these keys of gateway north."""
    gateway = settings.gateways["north"].model_copy(update=changes)
    return settings.model_copy(update={"gateways": {"north": gateway}})


def test_with_everything_down_each_thing_is_told_with_its_fix(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(to_toml(nowhere(tmp_path)))
    command = [sys.executable, "-m", "operations", "doctor", "--json", "--settings", str(file)]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert ended.returncode == EXIT_FAILED, ended.stderr
    answer = json.loads(ended.stdout)
    assert not answer["ok"] and "Traceback" not in ended.stderr
    findings = {(one["subject"], one["check"]): one for one in answer["findings"]}
    for subject in ("kafka", "s3 primary", "s3 dr", "clickhouse primary", "clickhouse dr"):
        assert findings[subject, "reachable"]["verdict"] == "error", subject
        assert findings[subject, "reachable"]["fix"].startswith(UP)
    for subject in ("gateway north", "forward south", "consumer dr-replica"):
        assert findings[subject, "readyz"]["verdict"] == "error", subject
    assert findings["gateway south", "C-ECHO"]["verdict"] == "error"
    assert findings["spool north", "flush of 4.0 KiB"]["seen"].startswith("median")
    assert all(one["fix"] for one in answer["findings"] if one["verdict"] != "ok")
    assert answer["errors"] == sum(one["verdict"] == "error" for one in answer["findings"])


def test_engines_before_and_after_they_are_provisioned(engine_settings: Settings) -> None:
    clocks = [(f"{kind} {site}", "clock") for kind in ("s3", "clickhouse") for site in SITES]
    before = found_well(engine_settings, ("kafka", "reachable"), *clocks)
    assert before["kafka", "topics"].verdict == "error"
    for site in SITES:
        assert before[f"s3 {site}", "bucket"].verdict == "error"
        assert before[f"clickhouse {site}", "database"].verdict == "error"
    succeeded(lambda: provision(engine_settings), "the engines are provisioned")
    kafka = engine_settings.kafka.model_copy(update={"payload_retention_ms": 7_200_000})
    primary = engine_settings.primary.model_copy(update={"name": "elsewhere"})
    after = found_well(
        engine_settings.model_copy(update={"kafka": kafka, "primary": primary}),
        *(("kafka", check) for check in ("topics", "in sync", "group offsets")),
        *(("s3 dr", "marker"), ("clickhouse dr", "migrations")),
    )
    drift = after["kafka", "topic settings"]
    assert drift.verdict == "error" and "retention.ms 86400000 -> 7200000" in drift.seen
    assert "another archive" in after["s3 elsewhere", "marker"].seen


@pytest.fixture
def offline(tmp_path: Path) -> Settings:
    return validate(nowhere(tmp_path), "tests")


def test_a_running_gateway_is_well_and_knows_its_modality(
    offline: Settings, tmp_path: Path
) -> None:
    directory = tmp_path / "spool"
    with running_gateway(directory) as gateway:
        addresses = gateway.receiver.addresses
        settings = gateway_tree(
            offline,
            dicom_port=addresses.dicom_port,
            http_port=addresses.http_port,
            spool=offline.gateways["north"].spool.model_copy(update={"directory": directory}),
        )
        well = (("gateway north", "C-ECHO"), ("gateway north", "readyz"))
        seen = found_well(settings, *well, ("spool north", "directory"))
        assert "0000H" in seen["gateway north", "C-ECHO"].seen
        answer = examined(settings, "CT1", "north")
    assert answer.settings[0].port == addresses.dicom_port
    assert answer.settings[0].called_ae_title == AE_TITLE


def test_a_gateway_that_admits_others_only_is_no_error(tmp_path: Path) -> None:
    rule = {"calling_ae_title": "CT1", "network": "192.0.2.0/24"}
    with running_gateway(tmp_path / "spool", admit=(rule,)) as gateway:
        tree = overlay(nowhere(tmp_path), {"gateways": {"north": {"admit": [rule]}}})
        settings = gateway_tree(validate(tree, "tests"), dicom_port=gateway.port)
        found_well(settings, ("gateway north", "C-ECHO"))
        answer = examine_peer(settings, "CT1", "north")
        assert answer.ok and answer.settings[0].networks == ("192.0.2.0/24",)
        assert "not from this machine" in answer.echo[0]


def test_over_tls_the_certificate_on_the_port_is_compared_with_the_file(
    offline: Settings, tmp_path: Path
) -> None:
    authority = Authority.create(tmp_path / "ca")
    tls = authority.gateway_settings("north")
    with running_gateway(tmp_path / "spool", tls=tls.model_dump()) as gateway:
        settings = gateway_tree(offline, dicom_port=gateway.port, tls=tls)
        seen = found_well(settings, ("gateway north", "TLS"))
        key = seen["certificates", "gateways.north.tls.certificate_file"]
        assert key.seen.startswith(str(tls.certificate_file))
        assert "not tried" in examine_peer(settings, "CT1", "north").echo[0]
        other, other_key = authority.issue("other")
        changed = tls.model_copy(update={"certificate_file": other, "key_file": other_key})
        compared = found(gateway_tree(settings, tls=changed))["gateway north", "TLS"]
        assert compared.verdict == "warning" and "kill -HUP" in compared.fix
        missing = tls.model_copy(update={"certificate_file": tmp_path / "none.pem"})
        told = found(gateway_tree(settings, tls=missing))
        assert told["certificates", "gateways.north.tls.certificate_file"].verdict == "error"


def test_a_modality_without_a_certificate_is_tried_over_tls(
    offline: Settings, tmp_path: Path
) -> None:
    tls = Authority.create(tmp_path / "ca").gateway_settings("north")
    tls = tls.model_copy(update={"require_client_certificate": False, "client_ca_file": None})
    with running_gateway(tmp_path / "spool", tls=tls.model_dump()) as gateway:
        answer = examined(gateway_tree(offline, dicom_port=gateway.port, tls=tls), "CT1", None)
    assert "without a client certificate" in answer.settings[0].tls


def peer(settings: Settings, title: str) -> PeerAnswer:
    return examine_peer(settings, title, None)


def test_an_unknown_modality_is_told_the_nearest_and_what_would_admit_it(tmp_path: Path) -> None:
    tree = nowhere(tmp_path)
    for gateway in tree["gateways"].values():
        gateway["admit"] = [{"calling_ae_title": "CT_ROOM_1", "network": "192.0.2.0/24"}]
    answer = peer(validate(tree, "tests"), "ct-room-1")
    assert not answer.ok and not answer.settings
    assert answer.nearest == ("CT_ROOM_1",)
    lines = tomllib.loads(answer.settings_lines)
    for name, gateway in tree["gateways"].items():
        gateway["admit"] += lines["gateways"][name]["admit"]
    assert len(peer(validate(tree, "tests"), "ct-room-1").settings) == 2
    with pytest.raises(FatalError, match="16 ASCII"):
        peer(validate(tree, "tests"), "SEVENTEEN-LETTERS")
    quoted = tomllib.loads(peer(validate(tree, "tests"), 'A "B"').settings_lines)
    assert quoted["gateways"]["north"]["admit"][0]["calling_ae_title"] == 'A "B"'


def test_watermarks_that_cannot_be_kept_are_told(offline: Settings, tmp_path: Path) -> None:
    spool = offline.gateways["north"].spool
    full = spool.model_copy(update={"directory": tmp_path, "free_bytes_min": 1 << 60})
    seen = found(gateway_tree(offline, spool=full))
    assert seen["spool north", "free_bytes_min"].verdict == "error"
    large = spool.model_copy(update={"directory": tmp_path, "spool_bytes_max": 1 << 60})
    seen = found(gateway_tree(offline, spool=large))
    assert seen["spool north", "spool_bytes_max"].verdict == "warning"


def test_the_flush_probe_leaves_nothing(tmp_path: Path) -> None:
    figures = flush_figures(tmp_path, 4096)
    assert 1 <= figures.flushes <= FLUSHES and 0 < figures.median_ms <= figures.worst_ms
    assert not list(tmp_path.iterdir())


def test_a_check_that_fails_or_hangs_hides_nothing() -> None:
    released, has_ended = threading.Event(), threading.Event()
    good = Finding("disk", "room", "ok", "much", "some")

    def fails() -> Iterator[Finding]:
        yield good
        raise FatalError("asking the disk", "look at it")

    def hangs() -> Iterator[Finding]:
        yield replace(good, subject="net")
        released.wait()
        has_ended.set()

    checks = [
        Check("disk", "room", "some", "df", fails),
        Check("net", "reach", "an answer", "ping", hangs),
    ]
    # Long enough for a busy machine to begin both.
    findings = examine(checks, lambda _line: None, seconds_max=3.0)
    assert not has_ended.is_set(), "what hangs was not waited for"
    released.set()
    assert findings == (
        good,
        Finding("disk", "room", "error", "asking the disk", "some", "look at it"),
        replace(good, subject="net"),
        Finding("net", "reach", "error", "no answer in 3 s", "an answer", "ping"),
    )


@pytest.mark.parametrize(
    ("remote_s", "resolution_s", "skew"),
    [(0.5, 0.0, 0.0), (-0.5, 1.0, 0.0), (5.0, 0.0, 4.0), (-5.0, 1.0, -4.0)],
)
def test_only_what_the_round_trip_leaves_open_is_no_skew(
    remote_s: float, resolution_s: float, skew: float
) -> None:
    remote = NOW + timedelta(seconds=remote_s)
    assert skew_s(remote, NOW, NOW + timedelta(seconds=1), resolution_s) == skew
