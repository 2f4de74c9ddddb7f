"""Which of our addresses a datagram came to."""

from __future__ import annotations

import socket
from functools import partial

import pytest
import trio

from tests.patience import SILENCE, within
from tests.transports.sockets import needs_ipv6, open_raw
from trio_coap import NON, Code, Message, Request, SocketEndpoint, TransmissionParameters, serve
from trio_coap.wire.message import decode_message_untrusted

GROUP = "224.0.1.187"
LEISURE = 0.1
BROADCAST = "127.255.255.255"


@pytest.mark.parametrize("host", [pytest.param("::", marks=needs_ipv6), "0.0.0.0"])
async def test_what_is_sent_to_all_on_a_link_is_answered_like_a_request_to_a_group(host: str) -> None:
    """Nobody joins for it, so that every server would acknowledge it, or answer a ping, at once."""
    async with trio.open_nursery() as nursery:
        parameters = TransmissionParameters(default_leisure=LEISURE)
        server = await nursery.start(partial(serve, lambda request: "here", host, 0, parameters=parameters))
        to = (BROADCAST, server.endpoint.port)
        with open_raw("127.0.0.1") as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            await peer.sendto(Request(Code.GET, message_id=1, token=b"t").encode(), to)
            await peer.sendto(Message(message_id=2).encode(), to)
            with trio.move_on_after(LEISURE + SILENCE):
                pytest.fail(f"answered with {await peer.recv(100)!r}")
            await peer.sendto(Request(Code.GET, message_id=3, token=b"t", type=NON).encode(), to)
            with trio.fail_after(within(5)):
                octets, source = await peer.recvfrom(100)
        assert decode_message_untrusted(octets).type is NON
        assert source == ("127.0.0.1", server.endpoint.port)
        assert server.statistics().rejected == {
            "a Confirmable request to a group": 1,
            "an empty message to a group": 1,
        }
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", [pytest.param("::", marks=needs_ipv6), "0.0.0.0"])
async def test_receiving_without_tasks_knows_which_address_was_asked(host: str) -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host=host, port=0)
    try:
        endpoint.join_group(GROUP, ["lo"])
        with open_raw("127.0.0.1") as peer, trio.fail_after(within(5)):
            await peer.sendto(Message(message_id=1).encode(), ("127.0.0.2", endpoint.port))
            message = await endpoint.receive()
            assert message is not None
            assert message.local_address is not None
            assert message.local_address.hostinfo == f"127.0.0.2:{endpoint.port}"
            assert (await peer.recvfrom(100))[1][0] == "127.0.0.2", "the Reset leaves from where the ping came to"
            peer.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            await peer.sendto(Request(Code.GET, message_id=2).encode(), (GROUP, endpoint.port))
            message = await endpoint.receive()
            assert message is not None
            assert message.local_address is not None
            assert message.local_address.is_multicast
            assert endpoint.statistics().rejected == {"a Confirmable request to a group": 1}
    finally:
        endpoint.close()
