"""The relay for peers that are other programs; here a socket that echoes."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import pytest
import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.testing import open_relay
from trio_coap.wire.errors import LocalProtocolError


@asynccontextmanager
async def open_echo(host="127.0.0.1"):
    """Open a socket that sends everything back, with the port of the sender in front."""
    sock = trio.socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    await sock.bind((host, 0))

    async def echo():
        while True:
            data, source = await sock.recvfrom(2048)
            await sock.sendto(b"%d %b" % (source[1], data), source)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        yield sock.getsockname()
        nursery.cancel_scope.cancel()
    sock.close()


async def exchange(relay, numbers, family=socket.AF_INET):
    """Send numbers one by one to the relay and return what comes back: (port, number)."""
    found = []
    with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
        for number in numbers:
            await sock.sendto(b"%d" % number, relay.address)
            # A datagram that is lost is not waited for: its number in both directions says that it is.
            with trio.move_on_after(0.2):
                data, _ = await sock.recvfrom(2048)
                port, _, echoed = data.partition(b" ")
                found.append((int(port), int(echoed)))
    return found


async def test_a_relay_passes_datagrams_both_ways():
    async with open_echo() as target, open_relay(target) as relay:
        found = await exchange(relay, range(5))
        assert [number for _, number in found] == list(range(5))
        assert (relay.forward.passed, relay.back.passed, relay.forward.dropped, relay.back.dropped) == (5, 5, 0, 0)
        assert relay.uri == f"coap://127.0.0.1:{relay.address[1]}"


async def test_a_relay_drops_by_number():
    async with open_echo() as target, open_relay(target, drop_forward={1, 3}, drop_back=[2]) as relay:
        assert [number for _, number in await exchange(relay, range(1, 6))] == [2, 5]
        assert (relay.forward.dropped, relay.back.dropped) == (2, 1)


async def test_a_relay_loses_the_same_datagrams_with_the_same_seed():
    async def lost(seed):
        async with open_echo() as target, open_relay(target, loss=0.5, seed=seed) as relay:
            with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for number in range(40):
                    await sock.sendto(b"%d" % number, relay.address)
                found = []
                with trio.move_on_after(0.2):
                    while True:
                        found.append((await sock.recvfrom(2048))[0].partition(b" ")[2])
            assert 10 <= relay.forward.dropped <= 30
            assert relay.forward.dropped + relay.forward.passed == 40
            assert len(found) == relay.back.passed
            return found

    assert await lost(1) == await lost(1) != await lost(2)


async def test_each_client_has_a_port_of_its_own():
    async with open_echo() as target, open_relay(target) as relay:
        ports = {port for _ in range(3) for port, _ in await exchange(relay, range(2))}
        assert len(ports) == 3


async def test_more_clients_than_sockets_are_dropped(monkeypatch):
    monkeypatch.setattr("trio_coap.testing.relay.MAX_CLIENTS", 1)
    async with open_echo() as target, open_relay(target) as relay:
        assert len(await exchange(relay, [1])) == 1
        assert await exchange(relay, [1]) == []


async def test_a_relay_survives_a_target_that_is_not_there():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        target = unused.getsockname()
    async with open_relay(target) as relay:
        assert await exchange(relay, range(3)) == []
        assert relay.forward.passed == 3


async def test_a_relay_speaks_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError as exc:
        pytest.skip(f"there is no IPv6 here: {exc}")
    async with open_echo("::1") as target, open_relay(Endpoint(target)) as relay:
        assert len(await exchange(relay, [1], socket.AF_INET6)) == 1
        assert relay.address[0] == "::1"


async def test_a_target_without_address_is_refused():
    with pytest.raises(LocalProtocolError, match="no address"):
        async with open_relay(Endpoint(host="somewhere", family=None)):
            pass


async def test_an_exception_of_the_body_comes_out_as_itself():
    with pytest.raises(ZeroDivisionError):
        async with open_relay(("127.0.0.1", 9)):
            _ = 1 / 0
