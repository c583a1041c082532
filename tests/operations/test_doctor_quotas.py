"""What the doctor says of quotas, from the forward process's last word."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.failures import FatalError
from edge_gateway.spool import Spool, SpoolPosition
from edge_gateway.unarchived import Unarchived, write_unarchived
from infra.local_stack import local_stack_tree
from infra.settings import Settings, overlay, validate
from operations.doctor_peer import examine_peer
from operations.doctor_quotas import quota_checks
from operations.findings import Finding, examine

MIB = 1024 * 1024


def settings_with(tmp_path: Path, *rules: dict[str, object]) -> Settings:
    tree = local_stack_tree(tmp_path, 0)
    north = {"admit": list(rules), "spool": {"directory": tmp_path / "spool"}}
    return validate(overlay(tree, {"gateways": {"north": north}}), "tests")


def rule(calling: str, **more: object) -> dict[str, object]:
    return {"calling_ae_title": calling, "network": "127.0.0.0/8"} | more


def verdicts(settings: Settings) -> dict[str, Finding]:
    findings = examine(quota_checks(settings), lambda _line: None)
    return {finding.check: finding for finding in findings}


def test_each_quota_is_judged_by_what_the_forward_process_said(tmp_path: Path) -> None:
    settings = settings_with(
        tmp_path,
        *(rule(title, unarchived_bytes_max=10 * MIB) for title in ("FULL", "HALF", "NONE", "*")),
        rule("FREE"),
    )
    assert {one.verdict for one in verdicts(settings).values()} == {"ok"}
    with Spool.open(tmp_path / "spool", "north") as spool:
        sizes = {"FULL": 10 * MIB, "HALF": 5 * MIB, "MOST": 10 * MIB + 1, "FREE": 1}
        told = Unarchived(SpoolPosition(1, 4096), sizes)
        write_unarchived(tmp_path / "spool", spool.identity.gateway_id, told)
    found = verdicts(settings)
    judged = {title: finding.verdict for title, finding in found.items()}
    assert judged == {"FULL": "error", "HALF": "ok", "NONE": "ok", "MOST": "error"}
    assert "unarchived_bytes_max" in found["FULL"].fix


def test_a_gateway_without_a_quota_is_not_asked(tmp_path: Path) -> None:
    assert not quota_checks(settings_with(tmp_path, rule("FREE")))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"unarchived_bytes_max": MIB - 1}, "unarchived_bytes_max"),
        ({"object_bytes_max": 1 << 40}, "admit[0].object_bytes_max is above the spool's own"),
        ({"transfer_syntaxes": ["JPEG2000"]}, "'JPEG2000' is no UID"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_at_the_start(
    tmp_path: Path, values: dict[str, object], told: str
) -> None:
    with pytest.raises(FatalError) as refusal:
        settings_with(tmp_path, rule("CT", **values))
    assert told in str(refusal.value)


def test_a_modality_is_told_which_transfer_syntaxes_it_is_held_to(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, rule("CT", transfer_syntaxes=["1.2.840.10008.1.2.1"]))
    (told,) = examine_peer(settings, "CT", "north").settings
    assert told.transfer_syntaxes == "these alone, stored as they are: Explicit VR Little Endian"
