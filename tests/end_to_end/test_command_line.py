"""The commands as a user has them: remote, in JSON, and as the README writes them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from operations.synthetic import CtStudy
from tests.end_to_end.local_stack import ROOT, LocalStack, assert_clean, await_equal

README_COMMAND = re.compile(r"```bash\n(.*?)```", re.DOTALL)
# The README's two commands that cannot run inside a test run of themselves, and who runs them.
RUN_ELSEWHERE = {"./hilum test": ".ci/run"}
# Good only while every process answers its probe within 3 s.
LOOKS = ("./hilum status", "./hilum verify --bytes")
LOOK_WITHIN_S = 120.0


def test_commands_need_no_gateway_directory(stack: LocalStack, tmp_path: Path) -> None:
    """Settings of a remote workstation: no state directory, and spools that are not there."""
    remote = tmp_path / "remote.toml"
    text = (stack.state / "settings.toml").read_text()
    text = text.replace(str(stack.state), str(tmp_path / "not-here"))
    remote.write_text(text)
    elsewhere = LocalStack(tmp_path / "none", stack.port_offset)
    study = CtStudy(3, rows=64, seed=500)
    study.write(tmp_path / "in")
    with_settings = ("--settings", str(remote))
    assert elsewhere.must("send", str(tmp_path / "in"), *with_settings)["acknowledged"] == 3
    assert_clean(elsewhere.verify(*with_settings))

    def found() -> tuple[object, object]:
        answer = elsewhere.run("where", study.accession_number, *with_settings).json or {}
        return answer.get("complete"), answer.get("found_as")

    await_equal(found, (3, "accession number"))
    assert elsewhere.must("where", study.accession_number, *with_settings)
    assert elsewhere.must("status", *with_settings)["spools"]
    assert elsewhere.must("dlq", "list", *with_settings)["dead_letters"] == []


def test_where_shows_each_state_with_its_time(stack: LocalStack, tmp_path: Path) -> None:
    study = CtStudy(2, rows=64, seed=501)
    study.write(tmp_path / "in")
    stack.must("send", str(tmp_path / "in"), "--to", "south")
    assert_clean(stack.verify())
    await_equal(
        lambda: (stack.run("where", study.study_instance_uid).json or {}).get("complete"), 2
    )
    found = stack.must("where", study.study_instance_uid)
    times = [found["states"][state]["first_at"] for state in found["states"]]
    assert list(found["states"]) and all(times)
    assert found["states"]["spooled"]["first_at"] <= found["states"]["archived"]["first_at"]
    assert found["states"]["archived"]["first_at"] <= found["states"]["replicated"]["first_at"]


def test_the_doctor_finds_no_error_in_a_running_stack(stack: LocalStack) -> None:
    subjects = ("gateway north", "gateway south", "s3 dr", "clickhouse primary")
    verdicts: dict[tuple[str, str], str] = {}

    def found() -> tuple[bool, list[str | None]]:
        # One that is busy when it is asked may be found silent, and a gateway's word that was long
        # on its way tells nothing of its clock; the next look does.
        answer = stack.run("doctor").json or {"ok": False, "findings": []}
        verdicts.clear()
        for one in answer["findings"]:
            verdicts[one["subject"], one["check"]] = one["verdict"]
        is_well = answer["ok"] and "error" not in verdicts.values()
        return is_well, [verdicts.get((subject, "clock")) for subject in subjects]

    await_equal(found, (True, ["ok"] * len(subjects)))
    assert verdicts["consumer usage-analytics", "readyz"] == "ok"
    modality = stack.must("doctor", "--peer", "CT1", "--gateway", "south")
    assert modality["settings"][0]["called_ae_title"] == "SOUTH"
    assert "0000H" in modality["echo"][0]


def test_examples_for_analysts_answer(stack: LocalStack) -> None:
    scripts = sorted((ROOT / "examples").rglob("*.py"))
    assert len(scripts) >= 3
    port = str(stack.settings().primary.clickhouse.port)
    for script in scripts:
        ended = subprocess.run(
            [sys.executable, str(script), "--port", port],
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, f"{script.name}: {ended.stderr}"
        assert ended.stdout.strip(), script.name


def assert_runs(command: str, environment: dict[str, str]) -> None:
    """It ends with 0; what only looks may be told of a process that is busy, and looks again."""
    until = time.monotonic() + (LOOK_WITHIN_S if command in LOOKS else 0.0)
    while True:
        ended = subprocess.run(
            shlex.split(command), cwd=ROOT, env=environment,
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if ended.returncode == 0:
            return
        told = f"{command}: {ended.stdout[-3000:]} {ended.stderr[-3000:]}"
        assert time.monotonic() < until, told


# A machine that also builds and starts the engines for the first time takes its time.
@pytest.mark.timeout(1800)
def test_every_command_block_of_the_readme_runs(tmp_path: Path) -> None:
    """In a stack of its own, started by the README's first command itself."""
    blocks = README_COMMAND.findall((ROOT / "README.md").read_text())
    commands = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert "./hilum demo" in commands and "./hilum test" in commands
    environment = {
        **os.environ,
        "HILUM_STATE": str(tmp_path / "state"),
        "HILUM_PORT_OFFSET": "20000",
    }
    try:
        for command in commands:
            if command in RUN_ELSEWHERE:
                assert command in (ROOT / RUN_ELSEWHERE[command]).read_text()
                continue
            assert_runs(command, environment)
    finally:
        subprocess.run(["./hilum", "down"], cwd=ROOT, env=environment, check=False)
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
