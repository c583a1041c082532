"""Bad input and bad settings: a clear answer with the next step, nothing lost, nothing stopped."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import generate_uid

from operations.synthetic import CtStudy
from tests.end_to_end.local_stack import LocalStack, assert_clean, await_equal, await_true


def one_slice(folder: Path, seed: int) -> Path:
    return CtStudy(1, rows=64, seed=seed).write(folder)[0]


def test_files_that_are_no_instances_are_named_and_the_rest_is_sent(
    stack: LocalStack, tmp_path: Path
) -> None:
    good = one_slice(tmp_path / "in", 400)
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    (tmp_path / "in" / "empty.dcm").touch()
    (tmp_path / "in" / "cut.dcm").write_bytes(good.read_bytes()[:200])
    answer = stack.run("send", str(tmp_path / "in"), str(tmp_path / "nowhere"), "--to", "north")
    assert answer.exit_code == 1
    assert answer.json["acknowledged"] == answer.json["sent"] == 1
    named = {Path(p["name"]).name: p["reason"] for p in answer.json["problems"]}
    assert set(named) == {"notes.txt", "empty.dcm", "cut.dcm", "nowhere"}
    assert all(named.values())
    assert_clean(stack.verify())


def test_no_preamble_and_zip_are_sent(stack: LocalStack, tmp_path: Path) -> None:
    first, second = CtStudy(2, rows=64, seed=401).write(tmp_path / "in")
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(first.read_bytes()[132:])
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(second, "../../../deep/second.dcm")
    report = stack.must("send", str(bare), str(tmp_path / "study.zip"), "--to", "south")
    assert report["acknowledged"] == 2
    assert_clean(stack.verify())


def test_zero_byte_pixel_data_and_missing_study_uid_are_kept(
    stack: LocalStack, tmp_path: Path
) -> None:
    paths = CtStudy(2, rows=64, seed=402).write(tmp_path / "in")
    no_pixels, no_study = (dcmread(path) for path in paths)
    no_pixels.PixelData = b""
    del no_study.StudyInstanceUID
    for path, data_set in zip(paths, (no_pixels, no_study), strict=True):
        dcmwrite(path, data_set, enforce_file_format=True)
    report = stack.must("send", str(tmp_path / "in"), "--to", "north")
    assert report["statuses"] == {"0000": 2}
    assert_clean(stack.verify())
    rows = stack.clickhouse().query(
        "SELECT study_instance_uid FROM instances WHERE sop_instance_uid = {uid:String}",
        {"uid": str(no_study.SOPInstanceUID)},
    )
    assert [tuple(r) for r in rows.result_rows] == [("",)]


def test_unknown_called_ae_title_is_rejected_with_the_reason(
    stack: LocalStack, tmp_path: Path
) -> None:
    path = one_slice(tmp_path / "in", 403)
    gateway = stack.settings().gateways["north"]
    answer = stack.run("send", str(path), "--to", f"NOBODY@{gateway.bind}:{gateway.dicom_port}")
    assert answer.exit_code == 1
    assert "1/1/7" in answer.json["problems"][0]["reason"]


def test_an_instance_under_another_uid_is_kept_in_quarantine(
    stack: LocalStack, tmp_path: Path
) -> None:
    """UIDs of the command set and of the data set differ: 0000, kept, set aside, counted."""
    from edge_gateway.outgoing import OutgoingInstance, read_outgoing
    from edge_gateway.scu import Peer, StoreScu

    read = read_outgoing(one_slice(tmp_path / "in", 404))
    assert isinstance(read, OutgoingInstance)
    other = OutgoingInstance(
        read.path,
        read.offset_bytes,
        read.size_bytes,
        read.sop_class_uid,
        str(generate_uid()),
        read.transfer_syntax_uid,
    )
    gateway = stack.settings().gateways["north"]
    peer = Peer(gateway.bind, gateway.dicom_port, gateway.ae_title, "TEST")
    before = stack.verify()
    summary = StoreScu().send([other], peer)
    assert summary.statuses == {0: 1}
    verdict = stack.verify()
    assert_clean(verdict)
    assert verdict["quarantined"] == before["quarantined"] + 1
    client, key = stack.clickhouse(), {"uid": other.sop_instance_uid}
    asked = "SELECT reason FROM quarantine WHERE sop_instance_uid = {uid:String}"
    await_equal(lambda: [*map(tuple, client.query(asked, key).result_rows)], [("uid_mismatch",)])
    # In one list with the dead letters, and its bytes are to be had.
    listed = stack.must("dlq", "list", "--reason", "uid_mismatch")["quarantined"]
    (mine,) = (one for one in listed if one["sop_instance_uid"] == other.sop_instance_uid)
    assert mine["first_seen"] and mine["size_bytes"] == read.size_bytes
    copy = tmp_path / "copy.dcm"
    assert stack.must("dlq", "show", mine["id"], "--to", str(copy))["id"] == mine["id"]
    original = read.path.read_bytes()[read.offset_bytes :]
    assert copy.read_bytes()[-read.size_bytes :] == original
    assert stack.run("dlq", "show", mine["id"], "--to", str(copy)).exit_code == 78
    assert stack.must("dlq", "list", "--consumer", "metadata-index")["quarantined"] == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace("bootstrap_servers", "bootstrap_server"), "bootstrap_servers"),
        (lambda text: text + "\n[gateway]\nx = 1\n", "gateways"),
        (lambda text: "this is not TOML", "TOML"),
    ],
)
def test_a_wrong_settings_file_names_the_key_and_the_next_step(
    stack: LocalStack, tmp_path: Path, spoil: Callable[[str], str], said: str
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(spoil((stack.state / "settings.toml").read_text()))
    answer = stack.run("status", "--settings", str(wrong))
    assert answer.exit_code == 78
    assert said in answer.json["error"] and "Next step" in answer.json["error"]


def test_a_wrong_s3_secret_is_said_with_the_setting_that_is_wrong(
    stack: LocalStack, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.toml"
    text = (stack.state / "settings.toml").read_text()
    wrong.write_text(text.replace("hilum-local-secret", "another-secret"))
    answer = stack.run("verify", "--wait", "5", "--settings", str(wrong))
    assert answer.exit_code == 78
    assert "secret" in answer.json["error"]


def test_clickhouse_down_at_start_is_waited_for(stack: LocalStack, tmp_path: Path) -> None:
    stack.must("down", "clickhouse-primary", "metadata-index")
    report = stack.must("send", str(one_slice(tmp_path / "in", 405)), "--to", "north")
    assert report["statuses"] == {"0000": 1}
    answer = stack.run("where", "1.2.3")
    assert answer.exit_code == 1 and answer.json["error"]
    stack.must("up", "--detach")
    await_true("the index is back", lambda: stack.run("status").json["ok"])
    assert_clean(stack.verify())
