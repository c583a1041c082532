"""Where load may be sent: to this machine, or to a host that was named twice.

Invariant: a name passes only if every address it resolves to is loopback. It must not connect.
"""

from __future__ import annotations

import ipaddress
import socket

from contracts.failures import FatalError


def require(host: str, confirmed: str | None = None) -> None:
    """Returns when load may go to `host`: loopback, or confirmed by exactly the same word.

    A gateway under load takes no other images well, so a host elsewhere must be typed twice:
    in the target and in the confirmation. Raises FatalError otherwise, or when the name does not
    resolve.
    """
    if confirmed is not None and confirmed == host:
        return
    foreign = [address for address in _addresses(host) if not _is_loopback(address)]
    if not foreign:
        return
    said = f", and --confirm names {confirmed!r}" if confirmed is not None else ""
    raise FatalError(
        f"{host} is not this machine (it resolves to {', '.join(foreign)}){said}",
        f"if its owner knows: --target AET@{host}:PORT --confirm {host}",
    )


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as cause:
        raise FatalError(
            f"resolving the target {host!r}: {cause}", "write it as AET@host:port"
        ) from cause
    return sorted({str(sockaddr[0]) for *_, sockaddr in found})


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.split("%")[0])
    # Python 3.11 does not look into ::ffff:127.0.0.1.
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
