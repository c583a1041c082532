"""One content is one row, however often and from wherever it came; other bytes are a conflict."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread, dcmwrite

from operations.synthetic import CtStudy
from tests.end_to_end.local_stack import LocalStack, assert_clean, await_equal


def test_the_same_study_from_two_sites_is_one_row_and_two_deliveries(
    stack: LocalStack, tmp_path: Path
) -> None:
    study = CtStudy(5, rows=64, seed=300)
    study.write(tmp_path / "study")
    for gateway in ("north", "south"):
        stack.must("send", str(tmp_path / "study"), "--to", gateway)
    assert_clean(stack.verify())
    client = stack.clickhouse()
    key = {"study": study.study_instance_uid}
    where = "WHERE study_instance_uid = {study:String}"
    instances = client.query(f"SELECT sop_instance_uid, site FROM instances {where}", key)
    assert len(instances.result_rows) == 5
    assert {site for _, site in instances.result_rows} == {"north"}, "the first delivery's site"
    deliveries = (
        f"SELECT count(), uniqExact(site) FROM deliveries {where} GROUP BY sop_instance_uid"
    )
    await_equal(lambda: [*map(tuple, client.query(deliveries, key).result_rows)], [(2, 2)] * 5)
    studies = f"SELECT instances, series FROM studies {where}"
    await_equal(lambda: [*map(tuple, client.query(studies, key).result_rows)], [(5, 1)])


def test_other_pixels_under_one_uid_are_two_contents_and_one_conflict(
    stack: LocalStack, tmp_path: Path
) -> None:
    [path] = CtStudy(1, rows=64, seed=301).write(tmp_path / "study")
    changed = dcmread(path)
    # Other pixels of another length; equal headers aside from what follows from it.
    changed.Rows = 32
    changed.PixelData = changed.PixelData[: len(changed.PixelData) // 2]
    (tmp_path / "changed").mkdir()
    dcmwrite(tmp_path / "changed" / "a.dcm", changed, enforce_file_format=True)
    stack.must("send", str(path), "--to", "north")
    stack.must("send", str(tmp_path / "changed"), "--to", "south")
    assert_clean(stack.verify())
    client = stack.clickhouse()
    key = {"uid": str(changed.SOPInstanceUID)}
    contents = client.query(
        "SELECT uniqExact(content_sha256), count() FROM instances "
        "WHERE sop_instance_uid = {uid:String}", key,
    ).result_rows  # fmt: skip
    assert [tuple(row) for row in contents] == [(2, 2)]
    kinds = "SELECT kind FROM conflicts WHERE sop_instance_uid = {uid:String}"
    await_equal(lambda: [row[0] for row in client.query(kinds, key).result_rows], ["other_pixels"])
