"""A line to one site's store on which single requests can be spoilt, for the members of a world."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.consumers.world import World
from tests.faults.http_proxy import HttpProxy


@contextmanager
def through_proxy(world: World, site_name: str) -> Iterator[HttpProxy]:
    """Members that start in the block reach that site's store through the proxy."""
    before = world.proxied
    site = getattr(world.settings, site_name)
    host, _, port = site.object_store.endpoint.rpartition(":")
    proxy = HttpProxy(host, int(port))
    store = site.object_store.model_copy(update={"endpoint": proxy.endpoint})
    proxied = getattr(before, site_name).model_copy(update={"object_store": store})
    world.proxied = before.model_copy(update={site_name: proxied})
    try:
        yield proxy
    finally:
        world.proxied = before
        proxy.close()
