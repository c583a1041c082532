"""A stock Orthanc, whose network side is DCMTK's, as an echo client of a gateway."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest

from tests.edge_gateway.orthanc_scu import OrthancScu, orthanc_program
from tests.edge_gateway.running_gateway import AE_TITLE, eventually, running_gateway


def test_orthanc_echoes_and_is_told_apart_from_one_who_calls_another(tmp_path: Path) -> None:
    program = orthanc_program()
    admit = [{"calling_ae_title": "ORTHANC", "network": "127.0.0.0/8"}]
    with running_gateway(tmp_path / "spool", admit=admit) as gateway:
        peers = {"north": (AE_TITLE, gateway.port), "misnamed": ("SOUTH", gateway.port)}
        orthanc = OrthancScu(tmp_path, peers)
        with orthanc.running(program):
            # Patient where it can be told: the machine may be busy with other things.
            assert orthanc.ask("/modalities/north/echo", {"Timeout": 60}) == {}
            with pytest.raises(urllib.error.HTTPError):
                orthanc.ask("/modalities/misnamed/echo", {"Timeout": 60})
        eventually(lambda: [closed.ending for closed in gateway.closed()] == ["released"])
