"""A study that came in several packs becomes one, and comes back as it was sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from operations.synthetic import CtStudy
from tests.end_to_end.local_stack import LocalStack, assert_clean, await_true


@pytest.mark.timeout(900)  # a dozen commands, each a process of its own
def test_a_study_from_two_sites_is_merged_collected_and_fetched(
    stack: LocalStack, tmp_path: Path
) -> None:
    study = CtStudy(5, rows=64, seed=310)
    uid = study.study_instance_uid
    sent = {one.SOPInstanceUID: one for one in map(dcmread, study.write(tmp_path / "study"))}
    for gateway in ("north", "south"):
        stack.must("send", str(tmp_path / "study"), "--to", gateway)
    assert_clean(stack.verify())
    stack.must("packs", "merge", uid, "--min-packs", "2", "--idle-hours", "0", "--apply")

    def is_one() -> bool:
        # A broker that is too busy for the question is asked again.
        stack.run("packs", "collect", uid, "--apply")
        listed = stack.run("packs", "list", uid).json
        return len((listed or {}).get("packs", ())) == 1

    await_true("one pack of the study", is_one)
    for site in ("primary", "dr"):
        to = tmp_path / site
        answer = stack.must("packs", "fetch", uid, "--to", str(to), "--from", site)
        assert (answer["packs"], answer["requests"], answer["instances"]) == (1, 1, len(sent))
        assert {path.stem: dcmread(path) for path in to.iterdir()} == sent
    verdict = stack.verify("--adopt")
    assert_clean(verdict)
    assert (verdict["adopted"], verdict["not_adopted"]) == (0, [])
    data_sets = stack.clickhouse().query(
        "SELECT sum(size_bytes) FROM instances WHERE study_instance_uid = {uid:String}",
        {"uid": uid},
    )
    # Both deliveries of each content are kept, so one copy of each is redundant.
    assert verdict["redundant_bytes"] >= data_sets.result_rows[0][0] > 0
