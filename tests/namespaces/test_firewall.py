"""What a firewall of our own host refuses ends that one exchange at once, and touches no other."""

from __future__ import annotations

import errno
import socket
import time

import pytest
import trio

from tests.namespaces.firewall import refusing
from tests.namespaces.network import Host
from tests.transports.sockets import open_raw
from trio_coap import Code, NetworkError, Request, TransmissionParameters, open_client, serve

PATIENCE = 10
AT_ONCE = 1.0
LOOPBACKS = {False: "127.0.0.1", True: "[::1]"}
GET = Request(Code.GET, message_id=0x1234, token=b"tk").encode()
QUICK = TransmissionParameters(ack_timeout=0.2, ack_random_factor=1.0)

pytestmark = pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])


async def slow(request: Request) -> str:
    await trio.sleep(0.2)
    return "here"


async def test_what_a_firewall_refuses_fails_at_once_and_touches_no_other(own_host: Host, ipv6: bool) -> None:
    async with trio.open_nursery() as nursery, open_client() as client:
        server = await nursery.start(serve, slow, "::", 5683)
        async with client.request(Code.GET, f"coap://{LOOPBACKS[not ipv6]}/r") as other:
            with refusing(ipv6=ipv6):
                for is_confirmable in (True, False):
                    started_at = time.monotonic()
                    with trio.fail_after(PATIENCE), pytest.raises(NetworkError, match="a firewall") as info:
                        await client.get(f"coap://{LOOPBACKS[ipv6]}/r", confirmable=is_confirmable)
                    assert time.monotonic() - started_at < AT_ONCE
                    assert isinstance(info.value.os_error, PermissionError)
                    assert info.value.os_error.errno == errno.EPERM
                assert client.endpoint.statistics().tokens == 1
                with trio.fail_after(PATIENCE):
                    assert (await other.receive()).text == "here"
                assert other.transmissions == 1
        assert server.endpoint.statistics().rejected == {}
        nursery.cancel_scope.cancel()


async def test_a_repetition_that_a_firewall_refuses_ends_the_exchange_at_once(own_host: Host, ipv6: bool) -> None:
    with open_raw(LOOPBACKS[ipv6].strip("[]"), 5683) as silent:
        async with (
            open_client(parameters=QUICK) as client,
            client.request(Code.GET, f"coap://{LOOPBACKS[ipv6]}/r") as handle,
        ):
            await silent.recv(100)
            with (
                refusing(ipv6=ipv6),
                trio.fail_after(PATIENCE),
                pytest.raises(NetworkError, match="a firewall") as info,
            ):
                await handle.receive()
        assert info.value.transmissions == 2
        assert info.value.elapsed < AT_ONCE


async def test_an_answer_that_a_firewall_refuses_does_the_server_no_harm(own_host: Host, ipv6: bool) -> None:
    asked = trio.Event()

    def handler(request: Request) -> str:
        asked.set()
        return "here"

    host = LOOPBACKS[ipv6].strip("[]")
    async with trio.open_nursery() as nursery, open_client() as client:
        await nursery.start(serve, handler, "::", 5683)
        with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.setblocking(False)
            peer.sendto(GET, (host, 5683))  # Nobody else has a turn until the firewall is there.
            with refusing(ipv6=ipv6), trio.fail_after(PATIENCE):
                await asked.wait()
            with pytest.raises(BlockingIOError):
                peer.recv(100)
            peer.sendto(GET, (host, 5683))
            with trio.fail_after(PATIENCE):
                await trio.lowlevel.wait_readable(peer)
                assert peer.recv(100)[:2] == b"\x62\x45", "the repetition is answered"
                assert (await client.get(f"coap://{LOOPBACKS[ipv6]}/r")).text == "here"
        nursery.cancel_scope.cancel()
