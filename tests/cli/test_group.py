"""Asking groups, in virtual time; with the command itself it is in tests/namespaces."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_coap import NON, Client, Code, Endpoint, Options, Response
from trio_coap.cli.group import PATIENCE, _discover_one
from trio_coap.testing import VirtualNetwork
from trio_coap.wire.block import Block
from trio_coap.wire.linkformat import Link
from trio_coap.wire.message import Request

GROUP = "224.0.1.187"
Found = dict[Endpoint, tuple[Link, ...]]


class Member:
    """Answers a group at once, with the links that it has, or with the first block of many and then nothing."""

    def __init__(self, endpoint, *, is_whole: bool) -> None:
        self.endpoint = endpoint
        self.is_whole = is_whole

    def request_received(self, request: Request, entry: object, now: float) -> None:
        assert request.source_endpoint is not None
        if request.local_address is None or not request.local_address.is_multicast:
            return
        options = Options(content_format=40, block2=Block.of(0, not self.is_whole, 16))
        response = Response(Code.CONTENT, b"</temperature>;a", type=NON, options=options)
        response.token = request.token
        self.endpoint.send(response, request.source_endpoint)


async def test_a_member_that_has_gone_does_not_keep_the_others_waiting(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    found: Found = {}
    async with (
        coap_network.open_endpoint("client") as own,
        coap_network.open_endpoint("gone", 5683) as gone,
        coap_network.open_endpoint("there", 5683) as there,
    ):
        for endpoint, is_whole in ((gone, False), (there, True)):
            endpoint.join_group(GROUP)
            endpoint.request_listener = Member(endpoint, is_whole=is_whole)
        await _discover_one(Client(own), f"coap://{GROUP}", {}, PATIENCE, found)
        assert list(found) == [there.remote]


async def test_what_cannot_be_asked_is_said_once(
    coap_network: VirtualNetwork, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Found = {}
    started_at = trio.current_time()
    async with coap_network.open_endpoint("client") as own:

        def refuse(*arguments: object) -> None:
            raise OSError(101, "Network is unreachable")

        own._rawsendto = refuse  # type: ignore[method-assign, assignment]
        await _discover_one(Client(own), f"coap://{GROUP}", {}, PATIENCE, found)
    assert trio.current_time() == started_at
    assert capsys.readouterr().err.count("Network is unreachable") == 1
