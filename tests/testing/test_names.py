"""Names of hosts, resolved without a thread."""

from __future__ import annotations

import socket
import threading

import pytest
import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.testing import open_network


async def test_names_resolve_without_a_thread(coap_network, autojump_clock, monkeypatch):
    def no_thread(*arguments, **keywords):
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)
    coap_network.host("2001:db8::1", "10.0.0.1", name="Server")
    assert await Endpoint.resolve("server", 7) == (
        Endpoint(host="2001:db8::1", port=7),
        Endpoint(host="10.0.0.1", port=7),
    )
    assert await Endpoint.resolve("Server", family=socket.AF_INET) == (Endpoint(host="10.0.0.1"),)
    assert await Endpoint.resolve("192.0.2.1") == (Endpoint(host="192.0.2.1"),)
    assert await trio.socket.getnameinfo(("10.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == (
        "10.0.0.1",
        "80",
    )


@pytest.mark.parametrize(("name", "family"), [("nobody", socket.AF_UNSPEC), ("server", socket.AF_INET6)])
async def test_unknown_names_do_not_resolve(coap_network, autojump_clock, name, family):
    coap_network.host("10.0.0.1", name="server")
    with pytest.raises(socket.gaierror, match="has no host"):
        await Endpoint.resolve(name, family=family)


async def test_the_resolver_before_comes_back():
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
            raise NotImplementedError

        async def getnameinfo(self, sockaddr, flags):
            raise NotImplementedError

    mine = Resolver()
    trio.socket.set_custom_hostname_resolver(mine)
    async with open_network(), open_network():
        pass
    assert trio.socket.set_custom_hostname_resolver(None) is mine
