"""What follows one log keeps a gateway at one worker, and says so to whoever asks for more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edge_gateway.workers.count import worker_count
from infra.settings import GatewaySettings

RULE = {"calling_ae_title": "CT1", "network": "127.0.0.0/8", "unarchived_bytes_max": 1024 * 1024}
QUOTA = {"admit": [RULE]}
MIRROR = {"mirror_directory": "/mirror/north"}


def gateway_tree(directory: Path, spool: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "site": "north",
        "ae_title": "NORTH",
        "spool": {"directory": str(directory / "spool"), **spool},
        **more,
    }


@pytest.mark.parametrize(
    ("spool", "more", "named"),
    [({}, QUOTA, r"admit\[0\].unarchived_bytes_max"), (MIRROR, {}, "spool.mirror_directory")],
)
def test_one_log_means_one_worker(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spool: dict[str, Any],
    more: dict[str, Any],
    named: str,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(32)))
    plain = GatewaySettings.model_validate(gateway_tree(tmp_path, {}))
    assert worker_count(plain) > 1
    tree = gateway_tree(tmp_path, spool, **more)
    assert worker_count(GatewaySettings.model_validate(tree)) == 1
    with pytest.raises(ValidationError, match=f"{named} needs workers = 1"):
        GatewaySettings.model_validate({**tree, "workers": 2})
