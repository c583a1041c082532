"""One gateway for a module of hostile peers, in plain text and then over TLS.

Invariant: what a peer sends and reads is the same behind both doors.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.association import AssociationLimits
from load.hostile.peer import Door
from load.hostile.raw_peer import RawPeer
from tests.edge_gateway.association.authority import Authority
from tests.edge_gateway.association.raw_peer import good_store
from tests.edge_gateway.running_gateway import (
    RunningGateway,
    association_threads,
    eventually,
    running_gateway,
)


@dataclass(frozen=True)
class GatewayBehindDoor:
    """A gateway that lives through all of a module, and how its peers reach it."""

    gateway: RunningGateway
    tls: ssl.SSLContext | None

    @property
    def door(self) -> Door:
        return Door(self.gateway.port, tls=self.tls)

    def raw_peer(self) -> RawPeer:
        return RawPeer(self.gateway.port, tls=self.tls)

    def good_store(self) -> None:
        good_store(self.gateway.port, self.tls)


@contextmanager
def behind_door(
    kind: str, directory: Path, limits: AssociationLimits | None = None
) -> Iterator[GatewayBehindDoor]:
    """A gateway behind the door `plain` or `tls`, once a good sender was answered."""
    tls: ssl.SSLContext | None = None
    settings: dict[str, Any] = {}
    if kind == "tls":
        authority = Authority.create(directory / "ca")
        tls = authority.client(authority)
        settings = {"tls": authority.gateway_settings("gateway").model_dump()}
    with running_gateway(directory / "spool", limits, **settings) as running:
        found = GatewayBehindDoor(running, tls)
        found.good_store()
        eventually(lambda: association_threads() == 0)
        yield found


@pytest.fixture(scope="module", params=["plain", "tls"])
def behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayBehindDoor]:
    with behind_door(request.param, tmp_path_factory.mktemp("behind")) as found:
        yield found
