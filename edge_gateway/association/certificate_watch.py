"""Certificates renewed while the gateway runs: on request, when the files change, and each day.

Invariant: no association is touched; what does not load keeps the former files in force and is
said once in the log and, until it is mended, in readiness.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from contracts.failures import FatalError
from edge_gateway.association.tls import TICKET_KEY_AGE_S, TlsCertificates
from infra.telemetry import Metrics, logger

_LOG = logger("certificates")
# Three stat calls; files that differ are read when two looks in a row saw the same, since a
# certificate and its key are two files that somebody writes one after the other.
LOOK_INTERVAL_S = 1.0
EXPIRY_WARNING = timedelta(days=30)
_STOP_TIMEOUT_S = 5.0


class CertificateWatch:
    """Renews `certificates` from a thread of its own, from `start` to `stop`."""

    def __init__(
        self, certificates: TlsCertificates, look_interval_s: float = LOOK_INTERVAL_S
    ) -> None:
        self.certificates = certificates
        self._look_interval_s = look_interval_s
        self._failure = ""
        self._is_asked = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="certificates", daemon=True)

    def start(self) -> None:
        """Looks at the files from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_TIMEOUT_S)

    def ask(self) -> None:
        """Reloads at the next look, a second at most. Takes no lock: for a signal handler."""
        self._is_asked = True

    def reload(self) -> None:
        """New connections get the files as they are now; on a fault the former stay in force."""
        try:
            self.certificates.reload()
        except FatalError as failure:
            self._failure = str(failure)
            _LOG.error("reloading certificates failed", reason=self._failure)
            return
        self._failure = ""
        _LOG.info(
            "certificates reloaded",
            expires={name: f"{at:%F}" for name, at in self.certificates.expires.items()},
        )

    def notes(self) -> str:
        """What readiness adds: '' while all is well."""
        notes = []
        if self._failure:
            notes.append(f"certificates NOT reloaded: {self._failure}")
        now = datetime.now(UTC)
        for name, at in self.certificates.expires.items():
            if at <= now:
                notes.append(f"{name} EXPIRED on {at:%F}")
            elif at - now < EXPIRY_WARNING:
                notes.append(f"{name} expires on {at:%F}")
        return "".join(f"; {note}" for note in notes)

    def gauge(self, metrics: Metrics) -> None:
        """Sets when each file ends, seconds of the Unix epoch."""
        for name, at in self.certificates.expires.items():
            metrics.gauge(
                "hilum_certificate_expires_timestamp_seconds", at.timestamp(), certificate=name
            )

    def _look(self) -> None:
        seen = self.certificates.loaded_stamp
        while not self._stop.wait(self._look_interval_s):
            before, seen = seen, self.certificates.files_stamp()
            has_settled = seen == before and seen != self.certificates.loaded_stamp
            is_old = self.certificates.age_s > TICKET_KEY_AGE_S
            if self._is_asked or has_settled or (is_old and not self._failure):
                self._is_asked = False
                self.reload()
