"""Settings and records in a state directory."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from contracts.failures import FatalError
from infra.engines.program import Probe
from operations.stack_files import (
    StackRecord,
    create_directories,
    exclusive,
    make_settings,
    read_record,
    stack_files,
    to_toml,
    write_record,
)
from operations.stack_programs import service_programs, stack_ports


def test_toml_reads_back_as_it_was() -> None:
    tree = {
        "plain": 1,
        "text": 'quote " backslash \\ line\n é \x7f',
        "flag": True,
        "share": 0.5,
        "list": [{"a b": "*", "n": 1}, {"x": False}],
        "table": {"deep-er": {"key.with.dots": "v"}, "value": 2},
    }
    assert tomllib.loads(to_toml(tree)) == tree
    assert tomllib.loads(to_toml({"none": None})) == {}


def test_settings_are_private_and_carry_offset_and_overlay(tmp_path: Path) -> None:
    files = stack_files(tmp_path / "state")
    create_directories(files)
    overlay = tmp_path / "own.toml"
    overlay.write_text('[primary.object_store]\nsecret_key = "another"\n[local]\nkafka = false\n')
    settings = make_settings(files, 2000, overlay, {"new-consumer": 9240})
    assert settings.kafka.bootstrap_servers == "127.0.0.1:11092"
    assert settings.primary.object_store.secret_key.get_secret_value() == "another"
    assert settings.local.kafka is False
    assert settings.consumer("new-consumer").http_port == 11240
    assert stat.S_IMODE(files.settings.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.state_directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("offset", [-1000, 500, 55_000])
def test_an_unusable_offset_is_refused(tmp_path: Path, offset: int) -> None:
    files = stack_files(tmp_path)
    create_directories(files)
    with pytest.raises(FatalError, match="multiple of 1000"):
        make_settings(files, offset, None, {})


def test_an_unknown_key_in_the_overlay_is_named(tmp_path: Path) -> None:
    files = stack_files(tmp_path)
    create_directories(files)
    overlay = tmp_path / "own.toml"
    overlay.write_text("[kafka]\nbootstrap_server = 'x:1'\n")
    with pytest.raises(FatalError, match="bootstrap_servers"):
        make_settings(files, 0, overlay, {})


def test_one_at_a_time(tmp_path: Path) -> None:
    files = stack_files(tmp_path)
    create_directories(files)
    with exclusive(files), pytest.raises(FatalError, match="another"), exclusive(files):
        raise AssertionError("two hold the lock")


def test_a_record_reads_back(tmp_path: Path) -> None:
    files = stack_files(tmp_path)
    create_directories(files)
    assert read_record(files) is None
    record = StackRecord(1000, {"kafka": Probe("kafka", 10092), "b": Probe("http", 1, "/x")})
    write_record(files, record)
    assert read_record(files) == record


def test_a_gateway_with_a_second_disk_has_a_process_more(tmp_path: Path) -> None:
    files = stack_files(tmp_path)
    create_directories(files)
    own = tmp_path / "own.toml"
    own.write_text(f'[gateways.south.spool]\nmirror_directory = "{tmp_path / "second"}"\n')
    settings = make_settings(files, 0, own, {})
    names = [program.name for program in service_programs(settings, files)]
    assert "mirror-south" in names and "mirror-north" not in names
    assert names.index("gateway-south") < names.index("mirror-south")
    assert stack_ports(settings)["mirror-south"] == (settings.gateways["south"].mirror_http_port,)
