"""Tells a refused login, or a broker whose certificate was refused, from one that is not there.

Invariant: only what the client library itself reported is told. It (3.0.12) tries a refused login
again until its time-out, reports a time-out, and names the refusal in nothing but a log record,
which carries the exception; so that is where it is taken from. A certificate that does not verify
is the context of an exception of its own. It also drops a last answer that
arrives together with the end of the connection, so a refusal may be told only at a later attempt:
until then it looks like a broker that cannot be reached.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from typing import cast

from kafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

_REFUSALS = (
    IllegalSaslStateError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
_CLIENT_LOGGER = "kafka.net.manager"


class _RefusalWatch(logging.Handler):
    """Keeps the last refused login and when it was."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._guard = threading.Lock()
        self._last: tuple[float, Exception] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        for argument in record.args if isinstance(record.args, tuple) else ():
            refusal = _refusal_in(argument)
            if refusal is not None:
                with self._guard:
                    self._last = (time.monotonic(), refusal)

    def since(self, moment: float) -> Exception | None:
        with self._guard:
            return self._last[1] if self._last and self._last[0] >= moment else None


def _refusal_in(argument: object) -> Exception | None:
    if isinstance(argument, KafkaConnectionError):
        cause: object = argument.__context__
        return cause if isinstance(cause, ssl.SSLCertVerificationError) else None
    # The client library is untyped.
    return cast("Exception", argument) if isinstance(argument, _REFUSALS) else None


_watch = _RefusalWatch()
logging.getLogger(_CLIENT_LOGGER).addHandler(_watch)


def refusal_since(moment: float) -> Exception | None:
    """The last login that a broker refused, or certificate of one that we refused, since `moment`.

    `moment` is of the monotonic clock; None where nothing was refused.
    """
    return _watch.since(moment)
