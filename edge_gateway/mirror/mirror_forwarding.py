"""The threads of the mirror process that run a forwarder over a mirror directory.

Invariant: a directory has one of them at most, as forward.lock says; the one of a lost spool first
recovers the directory as a receiver's start would, and removes it once all in it is archived and
told. Must not copy.
"""

from __future__ import annotations

import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from contracts.failures import HilumError
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.mirror.standby import DrainProcess, StandbyProcess, settings_of_mirror
from edge_gateway.receive import spool_limits
from edge_gateway.spool import GatewayIdentity, Spool, SpoolSet
from infra.settings import Settings
from infra.telemetry import Metrics, logger

AGAIN_S = 2.0
_LOG = logger("mirror")


class MirrorForwarding(ABC):
    """One thread over one mirror directory, from `start` to `stop`."""

    def __init__(
        self, settings: Settings, gateway_name: str, directory: Path, identity: GatewayIdentity
    ) -> None:
        self.identity = identity
        self.health = ForwardHealth()
        self._settings = settings_of_mirror(settings, gateway_name, directory)
        self._name = gateway_name
        self.directory = directory
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror-forward", daemon=True)

    def start(self) -> None:
        """Begins; Kafka may be down."""
        self._thread.start()

    def stop(self) -> None:
        """On return the thread has ended."""
        self._stop.set()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    @property
    def has_failed(self) -> bool:
        """Whether it ended by a fault of ours."""
        return not self._thread.is_alive() and not self._stop.is_set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._work()
                self.health.clear("mirror")
            except HilumError as problem:
                self.health.impede("mirror", str(problem))
                _LOG.error("forwarding a mirror failed", reason=str(problem))
            except OSError as problem:
                self.health.impede("mirror", f"the mirror's disk refuses: {problem}")
                _LOG.error("the mirror's disk refuses", reason=str(problem))
            self._stop.wait(AGAIN_S)

    @abstractmethod
    def _work(self) -> None:
        """Until asked to stop. Raises HilumError, after which it is tried again."""


class Standby(MirrorForwarding):
    """Releases what the archive has, while the first spool lives."""

    def __init__(
        self,
        settings: Settings,
        gateway_name: str,
        directory: Path,
        identity: GatewayIdentity,
        is_whole: Callable[[], bool],
    ) -> None:
        super().__init__(settings, gateway_name, directory, identity)
        self._is_whole = is_whole

    def _work(self) -> None:
        with SpoolSet(self.directory) as spools:
            process = StandbyProcess(
                self._settings, self._name, self.identity, spools, self._is_whole
            )
            process.run(Metrics(), self.health, self._stop)


class Drain(MirrorForwarding):
    """Publishes what a lost spool left in its mirror, and removes that at the end."""

    def __init__(
        self, settings: Settings, gateway_name: str, directory: Path, identity: GatewayIdentity
    ) -> None:
        super().__init__(settings, gateway_name, directory, identity)
        self._is_drained = False

    def _work(self) -> None:
        gateway = self._settings.gateway(self._name)
        # Closes the associations that were lost with the gateway, and answers what is durable.
        Spool.open(self.directory, self.identity.site, spool_limits(gateway)).close()
        with SpoolSet(self.directory) as spools:
            process = DrainProcess(
                self._settings, self._name, self.identity, spools, self._when_drained
            )
            process.run(Metrics(), self.health, self._stop)
        if self._is_drained:
            shutil.rmtree(self.directory)
            _LOG.info("drained and removed", gateway_id=self.identity.gateway_id)

    def _when_drained(self) -> None:
        self._is_drained = True
        self._stop.set()
