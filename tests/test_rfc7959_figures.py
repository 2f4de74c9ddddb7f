"""The figures of RFC 7959 section 3, on the wire between our client and our server.

Where a figure shows a choice that our client does not make by itself (late negotiation), the test asks for the blocks one
by one.  The tokens of figures 12 and 13 repeat from block to block; ours are drawn for each, which section 2.6 leaves open.
"""

from __future__ import annotations

import re

import pytest
from trio.testing import MockClock

from trio_coap import Block, BlockLimits, Client, Code, Message, Request, Response, Site, block_policy
from trio_coap.testing import DROP, VirtualNetwork, open_pair

BY_128 = BlockLimits(max_block_size=128)
BY_32 = BlockLimits(max_block_size=32)


def describe(message: Message | None) -> str:
    """Return a message as the figures show it."""
    assert message is not None
    blocks = [
        f" {name}:{block}"
        for name, block in (("1", message.options.block1), ("2", message.options.block2))
        if block is not None
    ]
    code = message.code.name if isinstance(message, Request) else message.code.dotted
    return f"{message.type.name} {code}{''.join(blocks)}"


def wire(network: VirtualNetwork) -> list[str]:
    return [describe(record.message) for record in network.trace]


def figure(text: str) -> list[str]:
    return [re.sub(" +", " ", line).strip() for line in text.strip().splitlines()]


STATUS = bytes(range(256)) + bytes(77)
"""Three blocks of 128 octets, six of 64."""


def serve_status(request: Request) -> bytes:
    return STATUS


async def test_figure_2_simple_block_wise_get(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_pair(serve_status, network=coap_network, block_limits=BY_128) as (client, _):
        assert (await client.get("/status")).payload == STATUS
    assert wire(coap_network) == figure("""
        CON GET
        ACK 2.05 2:0/1/128
        CON GET  2:1/0/128
        ACK 2.05 2:1/1/128
        CON GET  2:2/0/128
        ACK 2.05 2:2/0/128
    """)


async def test_figure_3_early_negotiation(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_pair(serve_status, network=coap_network, block_limits=BY_128) as (client, _):
        assert (await client.get("/status", block_size=64)).payload == STATUS
    seen = wire(coap_network)
    assert seen[:4] == figure("""
        CON GET  2:0/0/64
        ACK 2.05 2:0/1/64
        CON GET  2:1/0/64
        ACK 2.05 2:1/1/64
    """)
    assert seen[-2:] == ["CON GET 2:5/0/64", "ACK 2.05 2:5/0/64"]
    assert len(seen) == 12


FIGURE_4 = """
    CON GET
    ACK 2.05 2:0/1/128
    CON GET  2:2/0/64
    ACK 2.05 2:2/1/64
    CON GET  2:3/0/64
    ACK 2.05 2:3/1/64
    CON GET  2:4/0/64
    ACK 2.05 2:4/1/64
    CON GET  2:5/0/64
    ACK 2.05 2:5/0/64
"""


async def negotiate_late(client: Client) -> None:
    async with client.request(Code.GET, "/status") as handle:
        first = await handle.receive()
    body = first.payload
    for number in range(2, 6):
        response = await client.get("/status", block2=Block.of(number, False, 64))
        assert response.options.etag == first.options.etag
        body += response.payload
    assert body == STATUS


async def test_figure_4_late_negotiation(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_pair(serve_status, network=coap_network, block_limits=BY_128) as (client, _):
        await negotiate_late(client)
    assert wire(coap_network) == figure(FIGURE_4)


@pytest.mark.parametrize(("lost", "repeated"), [(3, [2]), (4, [2, 3])], ids=["figure_5_lost_con", "figure_6_lost_ack"])
async def test_late_negotiation_with_a_loss(
    lost: int, repeated: list[int], coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    coap_network.script({lost: DROP})
    async with open_pair(serve_status, network=coap_network, block_limits=BY_128) as (client, _):
        await negotiate_late(client)
    expected = figure(FIGURE_4)
    assert wire(coap_network) == expected[: repeated[-1] + 1] + expected[2:]


def make_options(received: list[bytes]) -> Site:
    site = Site()

    @site.put("/options")
    def put(request: Request) -> None:
        received.append(request.payload)

    @site.post("/soap")
    def post(request: Request) -> Response:
        return Response(Code.CHANGED, request.payload[::-1] + bytes(180))

    return site


OPTIONS = STATUS[:300]


async def test_figure_7_simple_atomic_put(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    received: list[bytes] = []
    async with open_pair(make_options(received), network=coap_network) as (client, _):
        await client.put("/options", OPTIONS, block_size=128)
    assert received == [OPTIONS]
    assert [line.removesuffix(" 2:0/0/128") for line in wire(coap_network)] == figure("""
        CON PUT  1:0/1/128
        ACK 2.31 1:0/1/128
        CON PUT  1:1/1/128
        ACK 2.31 1:1/1/128
        CON PUT  1:2/0/128
        ACK 2.04 1:2/0/128
    """)


async def test_figure_8_simple_stateless_put(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    received: list[bytes] = []

    @block_policy(sees_blocks=True)
    def put(request: Request) -> Response:
        block = request.options.block1
        assert block is not None
        received.append(request.payload)
        return Response(Code.CHANGED, block1=Block(block.number, False, block.size_exponent))

    async with open_pair(put, network=coap_network) as (client, _):
        assert (await client.put("/options", OPTIONS, block_size=128)).code is Code.CHANGED
    assert b"".join(received) == OPTIONS
    assert [line.removesuffix(" 2:0/0/128") for line in wire(coap_network)] == figure("""
        CON PUT  1:0/1/128
        ACK 2.04 1:0/0/128
        CON PUT  1:1/1/128
        ACK 2.04 1:1/0/128
        CON PUT  1:2/0/128
        ACK 2.04 1:2/0/128
    """)


async def test_figure_9_atomic_put_with_negotiation(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    received: list[bytes] = []
    body = OPTIONS[: 128 + 3 * 32 - 5]
    async with open_pair(make_options(received), network=coap_network, block_limits=BY_32) as (client, _):
        await client.put("/options", body, block_size=128)
    assert received == [body]
    assert [line.removesuffix(" 2:0/0/128") for line in wire(coap_network)] == figure("""
        CON PUT  1:0/1/128
        ACK 2.31 1:0/1/32
        CON PUT  1:4/1/32
        ACK 2.31 1:4/1/32
        CON PUT  1:5/1/32
        ACK 2.31 1:5/1/32
        CON PUT  1:6/0/32
        ACK 2.04 1:6/0/32
    """)


async def test_figure_10_post_with_block_wise_response(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    # The client is not asked for the size of the response's blocks, and the server has its own.
    async with open_pair(make_options([]), network=coap_network, block_limits=BY_128) as (client, _):
        response = await client.post("/soap", OPTIONS + bytes(1000))
    assert response.payload == (OPTIONS + bytes(1000))[::-1] + bytes(180)
    seen = wire(coap_network)
    assert seen[:3] == ["CON POST 1:0/1/1024", "ACK 2.31 1:0/1/128", "CON POST 1:8/1/128"]
    turn = seen.index("CON POST 1:10/0/128")
    assert seen[turn : turn + 6] == figure("""
        CON POST 1:10/0/128
        ACK 2.04 1:10/0/128 2:0/1/128
        CON POST 2:1/0/128
        ACK 2.04 2:1/1/128
        CON POST 2:2/0/128
        ACK 2.04 2:2/1/128
    """)
    assert seen[-1] == "ACK 2.04 2:11/0/128"
    later = [record.message for record in coap_network.trace if record.message][turn + 2 :: 2]
    assert [request.payload for request in later] == [b""] * len(later)


async def test_figure_11_post_with_early_negotiation(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_pair(make_options([]), network=coap_network) as (client, _):
        response = await client.post("/soap", STATUS[:150], block_size=64)
    assert response.payload == STATUS[:150][::-1] + bytes(180)
    assert wire(coap_network) == figure("""
        CON POST 1:0/1/64
        ACK 2.31 1:0/1/64
        CON POST 1:1/1/64
        ACK 2.31 1:1/1/64
        CON POST 1:2/0/64 2:0/0/64
        ACK 2.04 1:2/0/64 2:0/1/64
        CON POST 2:1/0/64
        ACK 2.04 2:1/1/64
        CON POST 2:2/0/64
        ACK 2.04 2:2/1/64
        CON POST 2:3/0/64
        ACK 2.04 2:3/1/64
        CON POST 2:4/0/64
        ACK 2.04 2:4/1/64
        CON POST 2:5/0/64
        ACK 2.04 2:5/0/64
    """)


async def observe_status_icon(
    network: VirtualNetwork, block_size: int | None
) -> tuple[list[tuple[str, int | None]], list[bytes]]:
    """Observe a resource that changes once; return what is seen on the wire from the change on, and the tokens."""
    icons = [STATUS[:309], STATUS[:309][::-1]]
    site = Site()
    site.get("/status-icon", observable=True)(lambda request: icons[0])
    async with (
        open_pair(site, network=network, block_limits=BY_128) as (client, _),
        client.observe("/status-icon", block_size=block_size) as observation,
    ):
        assert (await observation.receive()).payload == icons[0]
        before = len(wire(network))
        icons.pop(0)
        site.resource("/status-icon").notify()
        assert (await observation.receive()).payload == icons[0]
        messages = [record.message for record in network.trace][before:]
        token = observation.request.token
    registration = network.trace[0].message
    assert isinstance(registration, Request)
    assert registration.options.observe == 0
    notification = messages[0]
    assert notification is not None
    assert notification.token == token == registration.token
    seen = [(describe(message), message.options.observe) for message in messages if message]
    return seen, [message.token for message in messages if isinstance(message, Request)]


async def test_figure_12_observe_with_a_block_wise_response(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    seen, tokens = await observe_status_icon(coap_network, None)
    assert [line for line, _ in seen] == figure("""
        CON 2.05 2:0/1/128
        ACK 0.00
        CON GET  2:1/0/128
        ACK 2.05 2:1/1/128
        CON GET  2:2/0/128
        ACK 2.05 2:2/0/128
    """)
    (_, first), *others = seen
    assert first is not None
    assert [number for _, number in others] == [None] * 5
    assert coap_network.trace[0].message is not None
    assert coap_network.trace[0].message.token not in tokens


async def test_figure_13_observe_with_early_negotiation(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    seen, tokens = await observe_status_icon(coap_network, 64)
    assert describe(coap_network.trace[0].message) == "CON GET 2:0/0/64"
    assert [line for line, _ in seen] == figure("""
        CON 2.05 2:0/1/64
        ACK 0.00
        CON GET  2:1/0/64
        ACK 2.05 2:1/1/64
        CON GET  2:2/0/64
        ACK 2.05 2:2/1/64
        CON GET  2:3/0/64
        ACK 2.05 2:3/1/64
        CON GET  2:4/0/64
        ACK 2.05 2:4/0/64
    """)
    assert coap_network.trace[0].message is not None
    assert coap_network.trace[0].message.token not in tokens
