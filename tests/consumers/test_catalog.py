"""Settings of consumers: each is one that its consumer reads, or it is named and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumers.catalog import CATALOG, require_meant
from contracts.failures import FatalError
from infra.local_stack import local_stack_tree
from infra.settings import Settings, validate


def settings_with(directory: Path, name: str, own: dict[str, Any]) -> Settings:
    tree = local_stack_tree(directory, 0)
    tree["consumers"][name] = own
    return validate(tree, "test")


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("object-archive", {"memory_bytes_max": 0, "transfers_at_once": 1}),
        ("dr-replica", {"memory_bytes_max": 1, "batch_records_max": 5}),
        ("metadata-index", {"http_port": 1, "batch_age_ms_max": 5}),
        ("metadata-index-2", {"http_port": 1}),
    ],
)
def test_what_a_consumer_reads_is_taken(tmp_path: Path, name: str, own: dict[str, Any]) -> None:
    require_meant(settings_with(tmp_path, name, own))


@pytest.mark.parametrize(
    ("name", "own", "told", "next_step"),
    [
        ("metadata-index", {"memory_bytes_max": 1}, "memory_bytes_max means", "object-archive or"),
        ("usage-analytics", {"transfers_at_once": 2}, "transfers_at_once means", "dr-replica"),
        ("object-archiv", {}, "consumers.object-archiv: no consumer", "'object-archive'"),
        ("dr-replica-2", {"memory_bytes_max": 1}, "one member alone", "consumers.dr-replica,"),
    ],
)
def test_what_none_reads_is_refused_with_its_right_place(
    tmp_path: Path, name: str, own: dict[str, Any], told: str, next_step: str
) -> None:
    with pytest.raises(FatalError, match=told) as refused:
        require_meant(settings_with(tmp_path, name, own))
    assert next_step in refused.value.next_step


def test_packs_are_held_where_they_are_made_and_copied() -> None:
    assert [spec.name for spec in CATALOG if spec.holds_packs] == ["object-archive", "dr-replica"]
