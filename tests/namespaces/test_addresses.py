"""A host with several addresses of both families: what is asked answers from where it was asked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from tests.namespaces.conftest import MakeHost
from tests.namespaces.network import Host, connect, ip
from trio_coap import Client, Code, LocalProtocolError, Request, open_client, open_endpoint, serve

PATIENCE = 5
OWN = ["10.0.1.1", "10.0.1.11", "2001:db8:1::1", "2001:db8:1::11"]


@pytest.fixture
def neighbour(own_host: Host, make_host: MakeHost) -> Host:
    other = make_host()
    connect(own_host, "own", other, "wire")
    own_host.add_addresses("own", *[f"{address}/{64 if ':' in address else 24}" for address in OWN])
    other.add_addresses("wire", "10.0.1.2/24", "2001:db8:1::2/64")
    own_host.wait_until_up("own")
    other.wait_until_up("wire")
    return other


def connected(host: Host, address: str) -> trio.socket.SocketType:
    """Open a socket on *host* that takes what comes from *address* only."""
    with host.entered():
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((address, 5683))
        sock.setblocking(False)
    return trio.socket.from_stdlib_socket(sock)


@pytest.mark.parametrize("address", OWN)
async def test_an_answer_leaves_from_the_address_that_was_asked(neighbour: Host, address: str) -> None:
    async def slow(request: Request) -> str:
        await trio.sleep(0.15)
        return "slow"

    async with trio.open_nursery() as nursery:
        await nursery.start(serve, slow, "::", 5683)
        with connected(neighbour, address) as sock, trio.fail_after(PATIENCE):
            await sock.send(Request(Code.GET, message_id=1, token=b"t").encode())
            assert (await sock.recv(100))[:2] == b"\x60\x00"
            assert (await sock.recv(100))[:2] == b"\x41\x45"
        nursery.cancel_scope.cancel()


async def test_link_local_peers_talk_by_their_scope(neighbour: Host, own_host: Host) -> None:
    link_local = _link_local_of(own_host, "own")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, lambda request: str(request.source_endpoint), "::", 5683)
        index = socket.if_nametoindex("own")
        async with open_client() as client:
            with trio.fail_after(PATIENCE):
                response = await client.get(f"coap://[{link_local}%25{index}]/r")
            assert f"%25{index}" in response.text
            assert response.source_endpoint is not None
            assert f"%25{index}" in response.source_endpoint.uri
            with pytest.raises(LocalProtocolError, match="say on which interface"):
                await client.get(f"coap://[{link_local}]/r")
        nursery.cancel_scope.cancel()


async def test_a_host_without_ipv6_addresses_serves_ipv4(own_host: Host) -> None:
    disable_ipv6()
    async with open_endpoint("::", 0) as endpoint:
        assert endpoint.capabilities.ipv4
        assert await Client(endpoint).ping(f"coap://127.0.0.1:{endpoint.port}") < PATIENCE


async def test_on_a_host_without_ipv6_addresses_a_server_says_where_it_is_reached(own_host: Host) -> None:
    disable_ipv6()
    async with trio.open_nursery() as nursery, open_client() as client:
        server = await nursery.start(serve, lambda request: "here", "::", 0)
        with trio.fail_after(PATIENCE):
            assert (await client.get(server.uri)).text == "here"
        assert server.uri == f"coap://127.0.0.1:{server.endpoint.port}"
        nursery.cancel_scope.cancel()


def disable_ipv6() -> None:
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1", encoding="ascii")


def _link_local_of(host: Host, interface: str) -> str:
    with host.entered():
        words = ip("-6", "-brief", "address", "show", "dev", interface, "scope", "link").split()
    return words[2].partition("/")[0]
