"""Engines down, processes killed: everything answered 0000 is in both archives afterwards.

The sender's own history is the truth here, not the product's receipts. Short and seeded; the long
form is the fault laboratory's.
"""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

from operations.synthetic import CtStudy
from tests.end_to_end.local_stack import LocalStack, assert_clean, await_true

ENGINES = ("kafka", "minio-primary", "minio-dr", "clickhouse-primary", "clickhouse-dr")
SEED = 20260102
INSTANCES_PER_SITE = 500
KILL_INSTANCES = 2_000


def _stored(report: Any) -> int:
    assert report["statuses"] == {"0000": report["sent"]}, report
    return int(report["sent"])


def _instances(stack: LocalStack, site: str, study: str) -> int:
    rows = stack.clickhouse(site).query(
        "SELECT uniqExact(sop_instance_uid) FROM instances WHERE study_instance_uid = {s:String}",
        {"s": study},
    )
    return int(rows.result_rows[0][0])


def test_all_engines_down_and_every_c_store_is_answered_0000(
    stack: LocalStack, tmp_path: Path
) -> None:
    studies = {
        gateway: CtStudy(INSTANCES_PER_SITE, rows=64, seed=SEED + index)
        for index, gateway in enumerate(("north", "south"))
    }
    stack.must("down", *ENGINES)
    for gateway, study in studies.items():
        study.write(tmp_path / gateway)
        assert _stored(stack.must("send", str(tmp_path / gateway), "--to", gateway))
    stack.must("up", "--detach")
    # Nothing else is asked of anybody: the stack catches up by itself.
    assert_clean(stack.verify())
    for study in studies.values():
        for site in ("primary", "dr"):
            assert _instances(stack, site, study.study_instance_uid) == INSTANCES_PER_SITE


def test_kill_9_of_every_process_in_turn_during_a_send(stack: LocalStack, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    study = CtStudy(KILL_INSTANCES, rows=64, seed=SEED + 10)
    study.write(tmp_path / "study")
    reports: list[Any] = []
    sender = threading.Thread(
        target=lambda: reports.append(stack.send_patiently(tmp_path / "study", "north"))
    )
    names = sorted(stack.processes())
    random.Random(SEED).shuffle(names)
    sender.start()
    for name in names:
        stack.kill(name)
    sender.join(timeout=600)
    assert reports and reports[0]["acknowledged"] == KILL_INSTANCES, reports
    stack.must("up", "--detach")
    await_true("all processes ready", lambda: stack.run("status").json["ok"])
    assert_clean(stack.verify())
    for site in ("primary", "dr"):
        assert _instances(stack, site, study.study_instance_uid) == KILL_INSTANCES


def test_state_survives_kill_9_of_everything_and_down_and_up(
    stack: LocalStack, tmp_path: Path
) -> None:
    before = stack.verify()
    study = CtStudy(20, rows=64, seed=SEED + 20)
    study.write(tmp_path / "study")
    _stored(stack.must("send", str(tmp_path / "study"), "--to", "south"))
    stack.kill_everything()
    stack.must("up", "--detach")
    verdict = stack.verify()
    assert_clean(verdict)
    assert verdict["acknowledged"] == before["acknowledged"] + 20
    stack.must("down")
    stack.must("up", "--detach")
    again = stack.verify()
    assert_clean(again)
    assert again["acknowledged"] == verdict["acknowledged"]
