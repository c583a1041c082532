"""The stage table measures what it says, on a small study."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.end_to_end.local_stack import ROOT, LocalStack, assert_clean


def test_the_stage_table_has_every_stage_and_process(stack: LocalStack) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "load", "--slices", "5", "--small", "10", "--json"],
        env=stack.environment(), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    for study in json.loads(ended.stdout)["studies"]:
        assert [s["stage"] for s in study["stages"]] == [
            "acknowledged", "spooled", "published", "archived", "indexed", "replicated",
        ]  # fmt: skip
        assert {c["process"] for c in study["costs"]} == set(stack.processes())
    assert_clean(stack.must("verify"))
