"""Load stays on this machine unless its target was named twice."""

from __future__ import annotations

import pytest

from contracts.failures import FatalError
from load import loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "::ffff:127.0.0.1"])
def test_loopback_needs_no_confirmation(host: str) -> None:
    loopback.require(host)


# Documentation's own addresses (RFC 5737, RFC 3849), and "any", which is every interface.
@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "0.0.0.0", "::"])
def test_another_host_is_refused_with_the_way_to_confirm(host: str) -> None:
    with pytest.raises(FatalError) as refused:
        loopback.require(host)
    assert f"--confirm {host}" in refused.value.next_step
    loopback.require(host, host)


@pytest.mark.parametrize("confirmed", ["", "192.0.2.2", "192.0.2.1 ", "localhost"])
def test_a_confirmation_names_exactly_that_host(confirmed: str) -> None:
    with pytest.raises(FatalError, match=r"192\.0\.2\.1 is not this machine"):
        loopback.require("192.0.2.1", confirmed)


@pytest.mark.parametrize("host", ["name.invalid", "", "a" * 300])
def test_a_name_that_does_not_resolve_is_refused(host: str) -> None:
    with pytest.raises(FatalError):
        loopback.require(host)
