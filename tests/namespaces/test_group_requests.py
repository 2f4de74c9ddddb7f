"""Requests to a group over real sockets: the row of the conformance table whose virtual test is ``test_row_multicast``."""

from __future__ import annotations

import socket

import pytest
import trio

from tests.conformance.playing import Calls, datagram
from tests.namespaces.conftest import MakeHost
from tests.namespaces.network import Host, connect
from tests.patience import SILENCE, within
from tests.server.stage import make_request, with_option
from trio_coap import CON, NON, Code, Message, Request, Response, TransmissionParameters, serve
from trio_coap.wire.message import decode_message_untrusted

GROUP = "224.0.1.187"
LEISURE = 0.2
"""Seconds; a server takes five unless it is told otherwise."""


@pytest.fixture
def neighbour(own_host: Host, make_host: MakeHost) -> Host:
    other = make_host()
    connect(own_host, "own", other, "wire")
    own_host.add_addresses("own", "10.0.0.1/24")
    other.add_addresses("wire", "10.0.0.2/24")
    own_host.wait_until_up("own")
    other.wait_until_up("wire")
    return other


async def ask(peer: trio.socket.SocketType, message: Message | bytes) -> None:
    await peer.sendto(message if isinstance(message, bytes) else message.encode(), (GROUP, 5683))


async def test_a_request_to_a_group_gets_what_the_row_says(neighbour: Host) -> None:
    """Row: request to a multicast group: no RST, no error responses unless asked, leisure delay, NON response from a
    unicast address (RFC 7252 section 8); how the delays are spread is seen in virtual time.
    """
    with neighbour.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.0.2"))
        sock.bind(("10.0.0.2", 0))
        sock.setblocking(False)
    parameters = TransmissionParameters(default_leisure=LEISURE)
    with trio.socket.from_stdlib_socket(sock) as peer:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda **status: serve(Calls().site, groups=[GROUP], parameters=parameters, **status))
            unanswered: list[Request | bytes] = [
                datagram(CON),
                datagram(CON, "00", ""),
                datagram(CON, rest="b172ff"),
                with_option(65001, type=NON),
                make_request("nowhere", type=NON, message_id=1),
            ]
            for message in unanswered:
                await ask(peer, message)
            with trio.move_on_after(LEISURE + SILENCE):
                pytest.fail(f"answered with {await peer.recv(2048)!r}")
            with trio.fail_after(within(60)):
                for path, code in (("r", Code.CONTENT), ("nowhere", Code.NOT_FOUND)):
                    await ask(peer, make_request(path, type=NON, message_id=0x20 + code, no_response=0))
                    octets, source = await peer.recvfrom(2048)
                    response = decode_message_untrusted(octets)
                    assert isinstance(response, Response)
                    assert (response.type, response.code, source) == (NON, code, ("10.0.0.1", 5683))
            nursery.cancel_scope.cancel()
