"""Real senders: DCMTK's echoscu, storescu and dcmsend to both gateways; kcat on the topics."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from operations.peers import find
from operations.synthetic import CtStudy
from tests.end_to_end.local_stack import LocalStack, assert_clean, await_equal

# storescu's option by what it proposes; each is another transfer syntax negotiation.
SYNTAX_OPTIONS = (
    "-x=",
    "-xe",
    "-xb",
    "-xi",
    "-xs",
    "-xy",
    "-xx",
    "-xv",
    "-xw",
    "-xt",
    "-xu",
    "-xr",
)


def need(command: str) -> str:
    """The peer's path; without it the test is skipped, and in CI it fails."""
    path = find(command)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{command} is not installed; `hilum test` installs it as root on Debian")
        pytest.skip(f"{command} is not installed")
    return path


def gateways(stack: LocalStack) -> list[tuple[str, str, str]]:
    """(called AE title, host, port) of both gateways."""
    return [(g.ae_title, g.bind, str(g.dicom_port)) for g in stack.settings().gateways.values()]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def complete_of(stack: LocalStack, study: str) -> object:
    """How many of a study's instances have come to every state; None while it is unknown."""
    answer = stack.run("where", study).json
    return answer and answer.get("complete")


def test_echoscu_is_answered_by_both_gateways(stack: LocalStack) -> None:
    echoscu = need("echoscu")
    for ae_title, host, port in gateways(stack):
        ended = run(echoscu, "-v", "-aec", ae_title, host, port)
        assert ended.returncode == 0, ended.stderr
        assert "Success" in ended.stdout + ended.stderr


def test_storescu_stores_with_every_transfer_syntax_it_proposes(
    stack: LocalStack, tmp_path: Path
) -> None:
    storescu = need("storescu")
    for seed, (ae_title, host, port) in enumerate(gateways(stack), 100):
        files = [str(p) for p in CtStudy(4, rows=64, seed=seed).write(tmp_path / ae_title)]
        for option in SYNTAX_OPTIONS:
            ended = run(storescu, "-v", option, "+v", "-aec", ae_title, host, port, *files)
            assert ended.returncode == 0, f"{option}: {ended.stdout}{ended.stderr}"
    assert_clean(stack.verify())


def test_dcmsend_stores_a_folder(stack: LocalStack, tmp_path: Path) -> None:
    dcmsend = need("dcmsend")
    for seed, (ae_title, host, port) in enumerate(gateways(stack), 200):
        CtStudy(10, rows=64, seed=seed).write(tmp_path / ae_title)
        ended = run(
            dcmsend, "-v", "+sd", "+r", "-aec", ae_title, host, port, str(tmp_path / ae_title)
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        found = stack.verify()
        assert_clean(found)
        study = CtStudy(10, rows=64, seed=seed).study_instance_uid
        await_equal(partial(complete_of, stack, study), 10)


def test_kcat_reads_keys_and_cloudevents_headers(stack: LocalStack) -> None:
    kcat = need("kcat")
    ended = run(
        kcat, "-C", "-b", stack.settings().kafka.bootstrap_servers, "-t",
        "imaging.pack.archived.v1", "-o", "beginning", "-e", "-q", "-f", "%k %h\n",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines and all("ce_type=hilum.imaging.pack.archived.v1" in line for line in lines)
    assert all("traceparent=00-" in line for line in lines)
