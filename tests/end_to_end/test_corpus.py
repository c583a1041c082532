"""Every storable test file of pydicom: into both archives and back, byte for byte."""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from minio import Minio
from pydicom import dcmread

from tests.end_to_end.corpus import Storable, storable_files
from tests.end_to_end.local_stack import LocalStack, assert_clean


@pytest.fixture(scope="module")
def sent(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Storable, ...]:
    """The corpus, sent to north once as one folder."""
    folder = tmp_path_factory.mktemp("corpus")
    files = storable_files()
    for index, storable in enumerate(files):
        shutil.copy(storable.path, folder / f"{index:03d}.dcm")
    report = stack.must("send", str(folder), "--to", "north")
    assert report["acknowledged"] == report["sent"] == len(files)
    assert report["statuses"] == {"0000": len(files)}
    # Two of pydicom's files end inside an element on purpose: sent as they are, and said so.
    assert len(report["warnings"]) == 2
    assert_clean(stack.verify())
    return files


def test_everything_acknowledged_is_in_both_archives(
    stack: LocalStack, sent: tuple[Storable, ...]
) -> None:
    verdict = stack.verify("--bytes")
    assert_clean(verdict)
    distinct = {(s.sop_instance_uid, s.sha256) for s in sent}
    assert verdict["acknowledged"] >= len(distinct)
    assert verdict["bytes_checked"] > 0 and not verdict["bytes_wrong"]


def test_each_instance_is_read_back_by_its_location(
    stack: LocalStack, sent: tuple[Storable, ...], tmp_path: Path
) -> None:
    for site in ("primary", "dr"):
        rows = stack.clickhouse(site).query(
            "SELECT sop_instance_uid, content_sha256, bucket, object_key, offset_bytes, "
            "length_bytes FROM instances"
        )
        located = {(row[0], row[1]): row[2:] for row in rows.result_rows}
        store = getattr(stack.settings(), site).object_store
        client = Minio(
            store.endpoint,
            access_key=store.access_key,
            secret_key=store.secret_key.get_secret_value(),
            secure=False,
        )
        for storable in sent:
            bucket, key, offset, length = located[(storable.sop_instance_uid, storable.sha256)]
            response = client.get_object(bucket, key, offset=offset, length=length)
            part10 = tmp_path / "member.dcm"
            part10.write_bytes(response.read())
            response.close()
            response.release_conn()
            assert _data_set_sha256(part10) == storable.sha256
            assert dcmread(part10, stop_before_pixels=True).file_meta.TransferSyntaxUID


def test_instances_without_study_uid_are_packs_of_one(
    stack: LocalStack, sent: tuple[Storable, ...]
) -> None:
    without = [s for s in sent if not s.study_instance_uid]
    assert len(without) == 4
    rows = stack.clickhouse().query(
        "SELECT object_key, count() FROM instances WHERE object_key IN (SELECT object_key FROM "
        "instances WHERE study_instance_uid = '' AND content_sha256 IN {hashes:Array(String)}) "
        "GROUP BY object_key",
        {"hashes": [s.sha256 for s in without]},
    )
    assert len(rows.result_rows) == len({(s.sop_instance_uid, s.sha256) for s in without})
    assert all(count == 1 for _, count in rows.result_rows)


def test_other_bytes_under_one_uid_are_conflicts_and_both_kept(
    stack: LocalStack, sent: tuple[Storable, ...]
) -> None:
    contents: dict[str, set[str]] = defaultdict(set)
    for storable in sent:
        contents[storable.sop_instance_uid].add(storable.sha256)
    expected = {uid for uid, hashes in contents.items() if len(hashes) > 1}
    assert len(expected) == 11
    rows = stack.clickhouse().query("SELECT sop_instance_uid, kind FROM conflicts").result_rows
    assert expected <= {uid for uid, _ in rows}
    assert {kind for _, kind in rows} <= {"other_encoding", "other_pixels", "other_header"}


def _data_set_sha256(part10: Path) -> str:
    data = part10.read_bytes()
    group_length = int.from_bytes(data[140:144], "little")
    assert data[128:132] == b"DICM"
    return hashlib.sha256(data[144 + group_length :]).hexdigest()
