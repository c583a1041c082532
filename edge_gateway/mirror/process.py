"""The mirror process of one gateway: finds its directory on the second disk, and keeps it.

Invariant: a fault of either disk costs no more than confirmations; it is told in readiness and
tried again. Each gateway_id has a directory of its own, so that the mirror of a lost spool stays
while a new one begins beside it.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from contracts.failures import EXIT_FAILED, EXIT_OK, FatalError, HilumError
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.levels import MIRROR_SOCKET_NAME
from edge_gateway.mirror.copying import Copying
from edge_gateway.mirror.desk import MirrorDesk
from edge_gateway.mirror.follower import Follower
from edge_gateway.mirror.mirror_forwarding import Drain, Standby
from edge_gateway.mirror.mirror_spool import MirrorLimits, MirrorSpool
from edge_gateway.mirror.place import lost_mirrors, mirrors_of, require_own_disk, set_aside
from edge_gateway.spool import FileSystem, GatewayIdentity, SpoolReader
from edge_gateway.spool_identity import await_identity
from infra.clock import SystemClock
from infra.settings import Settings
from infra.telemetry import Metrics, ProcessEndpoint, Readiness, configure_logging, logger

_HTTP_BIND = "127.0.0.1"
AGAIN_S = 1.0
# After so long without an end of a step the second disk is told to hang.
HANGING_S = 10.0
_SWITCH_INTERVAL_S = 0.0002
_LOG = logger("mirror")


def run(settings: Settings, gateway_name: str) -> int:
    """Mirrors until SIGTERM or SIGINT; the exit code. Raises FatalError (no mirror in settings)."""
    gateway = settings.gateway(gateway_name)
    configure_logging(f"mirror-{gateway_name}", settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Who waits for a copy is not to wait for the standby's computing.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    process = MirrorProcess(settings, gateway_name)
    endpoint = ProcessEndpoint(
        _HTTP_BIND, gateway.mirror_http_port, process.metrics, process.readiness
    )
    endpoint.start()
    try:
        return process.run(stop)
    finally:
        endpoint.stop()


class MirrorProcess:
    """Copies in the thread of `run`; its forwarders have threads of their own."""

    def __init__(
        self, settings: Settings, gateway_name: str, mirror_fs: FileSystem | None = None
    ) -> None:
        """Raises FatalError where the settings have no mirror."""
        spool = settings.gateway(gateway_name).spool
        if spool.mirror_directory is None:
            raise FatalError(
                f"gateway {gateway_name} has no mirror",
                f"set gateways.{gateway_name}.spool.mirror_directory",
            )
        self._settings = settings
        self._name = gateway_name
        self._spool = spool
        self._directory = mirrors_of(spool, gateway_name)
        self._mirror_fs = mirror_fs
        self._clock = SystemClock()
        self._health = ForwardHealth()
        self._health.clear("bus")
        self._health.impede("mirror", "starting")
        self.metrics = Metrics()
        self._copying: Copying | None = None
        self._follower: Follower | None = None
        self._standby: Standby | None = None
        self._drains: list[Drain] = []

    def run(self, stop: threading.Event) -> int:
        """Until `stop`, or until a thread of it ended by a fault of ours."""
        try:
            while not stop.is_set() and not self._has_failed:
                try:
                    self._mirror_next(stop)
                except (HilumError, OSError) as problem:
                    self._health.impede("mirror", f"level 'mirror' is refused: {problem}")
                    _LOG.error("not mirroring", reason=str(problem))
                    self._clock.wait(stop, AGAIN_S)
        finally:
            for each in self._forwardings():
                each.stop()
        return EXIT_FAILED if self._has_failed else EXIT_OK

    def readiness(self) -> Readiness:
        """Red while level `mirror` cannot be confirmed."""
        copying = self._copying
        began_at = None if copying is None else copying.step_began_at
        if began_at is not None and self._clock.monotonic() - began_at > HANGING_S:
            return Readiness(False, f"the disk of {self._directory} does not answer")
        return self._health.readiness()

    def _mirror_next(self, stop: threading.Event) -> None:
        """Mirrors the spool that is there, until it is another one. Raises HilumError, OSError."""
        identity = await_identity(self._spool.directory, self._health, self._clock, stop)
        if identity is None:
            return
        require_own_disk(self._spool)
        self._begin_drains(identity)
        directory = self._directory / identity.gateway_id
        with MirrorSpool(directory, identity, self._limits(identity), fs=self._mirror_fs) as mirror:
            follower = Follower(self._spool.directory, mirror)
            try:
                self._follow(follower, mirror, identity, stop)
            finally:
                self._copying = self._follower = None
                follower.close()

    def _follow(
        self,
        follower: Follower,
        mirror: MirrorSpool,
        identity: GatewayIdentity,
        stop: threading.Event,
    ) -> None:
        follower.bring_remnants()
        self._follower = follower
        # Not before: a fresh ledger takes in the remnants at its begin.
        self._begin_standby(mirror.directory, identity)
        desk = MirrorDesk(follower, self._clock)
        desk.open(self._spool.directory, MIRROR_SOCKET_NAME)
        self._copying = Copying(follower, desk, self._health, self._clock, self.metrics)
        _LOG.info("mirroring", directory=str(mirror.directory), damaged=mirror.damaged)
        try:
            self._copying.run(stop, lambda: self._may_go_on(mirror, identity))
        finally:
            desk.close()

    def _may_go_on(self, mirror: MirrorSpool, identity: GatewayIdentity) -> bool:
        self._tell(mirror)
        found = SpoolReader(self._spool.directory).identity()
        is_same = found is not None and found.gateway_id == identity.gateway_id
        return is_same and not self._has_failed

    def _limits(self, identity: GatewayIdentity) -> MirrorLimits:
        spool = self._spool
        bytes_max = spool.spool_bytes_max or identity.spool_bytes_max
        return MirrorLimits(spool.segment_bytes, bytes_max, spool.free_bytes_min)

    def _begin_standby(self, directory: Path, identity: GatewayIdentity) -> None:
        if self._standby is not None:
            if self._standby.identity.gateway_id == identity.gateway_id:
                return
            self._standby.stop()
        self._standby = Standby(self._settings, self._name, directory, identity, self._is_whole)
        self._standby.start()

    def _is_whole(self) -> bool:
        follower = self._follower
        return follower is not None and follower.is_whole()

    def _begin_drains(self, current: GatewayIdentity) -> None:
        """Starts to publish what lost spools left here; a spool that came back is none."""
        for drain in self._drains:
            if drain.identity.gateway_id == current.gateway_id:
                drain.stop()
        self._drains = [drain for drain in self._drains if drain.is_alive]
        under_way = {drain.directory for drain in self._drains}
        for lost in lost_mirrors(self._directory, current):
            if lost.directory in under_way:
                continue
            if self._standby is not None and self._standby.directory == lost.directory:
                self._standby.stop()
                self._standby = None
            found = set_aside(lost)
            _LOG.warning("a spool was lost, publishing from it", mirror=str(found.directory))
            drain = Drain(self._settings, self._name, found.directory, found.identity)
            self._drains.append(drain)
            drain.start()

    def _forwardings(self) -> list[Standby | Drain]:
        return [*([] if self._standby is None else [self._standby]), *self._drains]

    @property
    def _has_failed(self) -> bool:
        return any(each.has_failed for each in self._forwardings())

    def _tell(self, mirror: MirrorSpool) -> None:
        self._health.note_aside("mirror", f"mirroring to {mirror.directory}")
        standby = self._standby
        told = standby.health.readiness() if standby is not None else Readiness(True, "")
        reason = "" if told.is_ready else f"not releasing there: {told.reason}"
        self._health.note_aside("standby", reason)
        drains = [
            f"publishing what a lost spool left in {drain.directory}:"
            f" {drain.health.readiness().reason}"
            for drain in self._drains
            if drain.is_alive
        ]
        self._health.note_aside("drains", "; ".join(drains))
