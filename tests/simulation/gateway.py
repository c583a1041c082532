"""One gateway machine: its disk, its receive process and its forward process, without threads.

Invariant: both processes are the product's own parts, made anew at each start; what a process had
in memory is gone when it ends. Must not look into what they decide.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge_gateway.spool import (
    AssociationOpened,
    DeliverySink,
    Ending,
    GatewayIdentity,
    Receipt,
    Spool,
    SpoolError,
    SpoolLimits,
)
from edge_gateway.spool.entry import encode_values
from edge_gateway.spool.layout import SpoolLayout, write_whole
from infra.settings_forwarding import ForwardingSettings
from tests.simulation.bus import SimulatedBus
from tests.simulation.clock import START, SimulatedClock
from tests.simulation.disk import (
    DISK_BYTES,
    Killed,
    SimulatedDisk,
    SimulatedFileSystem,
    copy_ledger,
)
from tests.simulation.forwarding import Forwarding, start_forwarding
from tests.simulation.instances import History, Instance
from tests.simulation.limits import (
    FRAGMENT_BYTES,
    GATEWAY_ID,
    LEDGER,
    LIMITS,
    SITE,
    SPOOL_BYTES_MAX,
)
from tests.simulation.stepped import SteppedCommitter, SteppedSupply


@dataclass
class Receiving:
    """A receive process that runs."""

    spool: Spool
    fs: SimulatedFileSystem

    def let_threads_work(self) -> None:
        committer, supply = self.spool._parts.committer, self.spool._parts.supply
        assert isinstance(committer, SteppedCommitter) and isinstance(supply, SteppedSupply)
        supply.lay_ahead()
        committer.write_due()


class SimulatedGateway:
    """`receiving` and `forwarding` are None while that process is down."""

    def __init__(
        self, directory: Path, bus: SimulatedBus, clock: SimulatedClock, history: History
    ) -> None:
        self.directory = directory
        self._bus = bus
        self._clock = clock
        self._history = history
        self._boots = 0
        self.has_priorities = False
        self.limits = LIMITS
        self.settings = ForwardingSettings()
        self.disk = SimulatedDisk(directory)
        self.receiving: Receiving | None = None
        self.forwarding: Forwarding | None = None
        self._mint_identity()

    def _mint_identity(self) -> None:
        # Written before the first start, so that it is the same in every run.
        fs = SimulatedFileSystem(self.disk)
        layout = SpoolLayout(self.directory)
        layout.make(fs)
        identity = GatewayIdentity(1, GATEWAY_ID, SITE, START, SPOOL_BYTES_MAX)
        write_whole(fs, layout.identity, [encode_values(identity)])

    # -- the receive process

    def start_receiver(self) -> None:
        """Opens the spool; stays down where the disk does not let it."""
        if self.receiving is not None:
            return
        with suppress(SpoolError):
            self.receiving = self.open_spool(self.limits)

    def open_spool(self, limits: SpoolLimits) -> Receiving:
        """A receive process with these limits. Raises as `Spool.open`."""
        fs = SimulatedFileSystem(self.disk)
        with ExitStack() as unless_open:
            unless_open.callback(fs.end)
            spool = Spool.open(self.directory, SITE, limits, clock=self._clock, fs=fs)
            unless_open.pop_all()
        return Receiving(spool, fs)

    def begin_delivery(self) -> DeliverySink:
        """A data set that nobody counts: it is never committed."""
        assert self.receiving is not None
        instance = Instance(str(uuid.UUID(int=7)), "association-0", 1, 0, 0)
        return self.receiving.spool.begin(instance.facts(self._clock.now()))

    def kill_receiver(self) -> None:
        receiving, self.receiving = self.receiving, None
        if receiving is not None:
            receiving.fs.is_ended = True
            receiving.spool._parts.held.close()
            receiving.fs.end()

    def open_association(self, association_id: str) -> None:
        if self.receiving is None:
            return
        opened = AssociationOpened(
            association_id=association_id,
            calling_ae_title="MODALITY",
            called_ae_title="NORTH",
            peer_address="127.0.0.1",
            peer_implementation_class_uid="1.2.3",
            peer_implementation_version_name="SYNTHETIC",
            opened_at=self._clock.now(),
        )
        with self._receiver_may_die():
            self.receiving.spool.association_opened(opened)

    def close_association(self, association_id: str, ending: Ending = Ending.RELEASED) -> None:
        if self.receiving is not None:
            with self._receiver_may_die():
                self.receiving.spool.association_closed(association_id, ending)

    def store(self, instance: Instance) -> bool:
        """One C-STORE; whether it was answered 0x0000."""
        receiving = self.receiving
        if receiving is None or not receiving.spool.admission().accepting:
            self._history.refused += 1
            return False
        data = instance.data_set()
        sent = self._history.begin(instance, data)
        with self._receiver_may_die():
            with receiving.spool.begin(instance.facts(self._clock.now())) as sink:
                for at in range(0, len(data), FRAGMENT_BYTES):
                    sink.write(data[at : at + FRAGMENT_BYTES])
                delivery = sink.commit(instance.quarantine_reason)
            sent.acknowledged = True
            receiving.spool.append_receipt(
                Receipt(
                    association_id=instance.association_id,
                    delivery_id=delivery.delivery_id,
                    sop_instance_uid=delivery.sop_instance_uid,
                    content_sha256=delivery.content_sha256,
                    status=0,
                    answered_at=self._clock.now(),
                )
            )
        return sent.acknowledged

    def answer_refusal(self, association_id: str) -> None:
        """A C-STORE was answered 0xA700: a fact for the receipts, and nothing is stored."""
        assert self.receiving is not None
        refused = Receipt(
            association_id=association_id,
            delivery_id=None,
            sop_instance_uid="1.2.3",
            content_sha256=None,
            status=0xA700,
            answered_at=self._clock.now(),
        )
        with self._receiver_may_die():
            self.receiving.spool.append_receipt(refused)

    @contextmanager
    def _receiver_may_die(self) -> Iterator[None]:
        try:
            yield
        except Killed:
            self.kill_receiver()
        except SpoolError:
            self._history.refused += 1
        if self.receiving is not None and self.receiving.spool.broken:
            # A disk error: the supervisor starts it again.
            self.kill_receiver()
            self.start_receiver()

    def let_receiver_work(self) -> None:
        """The turn of the receive process's own threads."""
        if self.receiving is not None:
            with self._receiver_may_die():
                self.receiving.let_threads_work()

    # -- the forward process

    def start_forwarder(self) -> None:
        if self.forwarding is not None:
            return
        fs = SimulatedFileSystem(self.disk)
        self._boots += 1
        self.forwarding = start_forwarding(
            self.directory,
            self._bus,
            self._clock,
            fs,
            f"boot-{self._boots}",
            has_priorities=self.has_priorities,
            settings=self.settings,
        )

    def kill_forwarder(self) -> None:
        """What the ledger's last batch had is gone; what was sent may still arrive."""
        forwarding, self.forwarding = self.forwarding, None
        if forwarding is None:
            return
        forwarding.end()

    def forward(self, rounds: int = 1) -> None:
        """Rounds of the forwarder's main loop, its listener's thread beside it."""
        for _ in range(rounds):
            forwarding = self.forwarding
            if forwarding is None:
                return
            try:
                forwarding.listen(self._clock.monotonic())
                forwarding.forwarder.step()
            except Killed:
                self.kill_forwarder()
            except (OSError, sqlite3.Error):
                self.kill_forwarder()
                self.start_forwarder()
            self._clock.pass_time(0.01)

    # -- the machine

    def heal(self) -> None:
        """The disk has room and answers, nothing is about to be killed, both processes run."""
        self.disk.room_bytes = DISK_BYTES
        for process in (self.receiving, self.forwarding):
            if process is not None:
                process.fs.ends_after = process.fs.flush_error = process.fs.refuses = None
                process.fs.refused_write = None
        if self.receiving is not None and self.receiving.spool.broken:
            self.kill_receiver()
        self.start_receiver()
        self.start_forwarder()

    def lose_power(self, seed: int) -> None:
        """Both processes end, and the disk keeps a selection of what was not flushed."""
        chance = random.Random(seed)
        ledger = self.directory / LEDGER
        kept = self.directory.parent / "ledger-after-power-loss"
        if ledger.exists():
            copy_ledger(ledger, kept, chance)
        self.kill_receiver()
        self.kill_forwarder()
        for suffix in ("", "-wal", "-shm"):
            (self.directory / (LEDGER + suffix)).unlink(missing_ok=True)
            part = kept.with_name(kept.name + suffix)
            if part.exists():
                shutil.move(part, self.directory / (LEDGER + suffix))
        self.disk.lose_power(chance)
