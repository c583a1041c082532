"""The lean sender to receivers of others, which negotiate no window."""

from __future__ import annotations

from pathlib import Path

import pytest

from load.receivers import RECEIVERS
from load.senders import LeanOptions, send_lean
from tests.load.sender_templates import planned, small_template


@pytest.mark.parametrize("key", ("storescp", "pynetdicom", "orthanc"))
def test_a_peer_takes_all_with_one_in_flight(tmp_path: Path, key: str) -> None:
    receiver = RECEIVERS[key]
    if receiver.version() is None:
        pytest.skip(f"{receiver.title} is not installed")
    instances = planned(small_template(), 12) + planned(small_template(200 * 1024), 4, seed=2)
    with receiver.running(tmp_path) as running:
        run = send_lean(running.target, instances, LeanOptions(associations=2, window=8))
    assert not run.failures()
    assert (run.acknowledged, run.associations, run.window) == (16, 2, 1)
