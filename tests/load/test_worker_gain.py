"""The gain of several workers is measured against two running gateways."""

from __future__ import annotations

import subprocess
import sys

from operations.context import CHECKOUT

MEASURED_WITHIN_S = 300


def test_the_gain_is_measured_against_two_running_gateways() -> None:
    """It ends with an error where an instance was not taken."""
    command = [sys.executable, "-m", "load.worker_gain", "--pairs", "1", "--seconds", "0.3"]
    done = subprocess.run(
        [*command, "--segment-mib", "16"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=MEASURED_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[:2] for line in done.stdout.splitlines()[1:]]
    assert rows == [["| ct", "1"], ["| ct", "4"], ["| ct-small", "1"], ["| ct-small", "4"]]
