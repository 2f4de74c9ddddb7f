"""Observations of what is too long for a datagram (RFC 7959 sections 2.6 and 3.4); the client is played by hand."""

from __future__ import annotations

from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.stage import make_request, open_stage
from trio_coap import ACK, CON, Block, Code, Message, Observable, Request, Response, Site, block_policy
from trio_coap.testing import VirtualNetwork


def content(number: int) -> bytes:
    return bytes([number]) * 2500


async def test_a_notification_is_the_first_block_and_the_others_are_asked_for(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    site, bodies = Site(), [content(1)]
    site.get("/r", observable=True)(lambda request: bodies[0])
    async with open_stage(site, coap_network) as stage:
        first = await stage.ask(make_request(message_id=1, token=b"t", observe=0))
        assert (first.options.block2, first.payload) == (Block(0, True, 6), content(1)[:1024])
        number = first.options.observe
        assert number is not None
        bodies[0] = content(2)
        site.resource("/r").notify()
        notification = await stage.peer.receive()
        assert isinstance(notification, Response)
        assert (notification.type, notification.token) == (CON, b"t")
        assert (notification.options.block2, notification.payload) == (Block(0, True, 6), content(2)[:1024])
        assert notification.options.observe is not None
        assert notification.options.observe > number
        assert notification.options.etag != first.options.etag
        stage.send(Message(type=ACK, message_id=notification.message_id))
        second = await stage.ask(make_request(message_id=2, token=b"u", block2=Block(1, False, 6)))
        assert (second.options.observe, second.options.etag) == (None, notification.options.etag)
        assert second.payload == content(2)[1024:2048]
        assert len(stage.server.dispatcher.observers) == 1


async def test_a_later_block_is_not_observed(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    site = Site()
    site.get("/r", observable=True)(lambda request: content(1))
    async with open_stage(site, coap_network) as stage:
        response = await stage.ask(make_request(observe=0, block2=Block(1, False, 6)))
        assert (response.payload, response.options.observe) == (content(1)[1024:2048], None)
        assert len(stage.server.dispatcher.observers) == 0


async def test_what_comes_in_blocks_is_not_observed(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    site = Site()
    site.fetch("/r", observable=True)(lambda request: request.payload)
    async with open_stage(site, coap_network) as stage:
        answers = []
        for number, is_more in enumerate((True, False)):
            block = Block(number, is_more, 0)
            request = make_request(code=Code.FETCH, message_id=number, payload=bytes(16), observe=0, block1=block)
            answers.append(await stage.ask(request))
        assert [answer.code for answer in answers] == [Code.CONTINUE, Code.CONTENT]
        assert [answer.options.observe for answer in answers] == [None, None]
        assert answers[1].payload == bytes(32)
        assert len(stage.server.dispatcher.observers) == 0


async def test_an_observable_that_is_the_handler_keeps_the_policy_of_its_own(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    @block_policy(max_body=16)
    def handler(request: Request) -> str:
        return "taken"

    async with open_stage(Observable(handler), coap_network) as stage:
        request = make_request(code=Code.PUT, payload=bytes(1025))
        assert (await stage.ask(request)).code is Code.REQUEST_ENTITY_TOO_LARGE


async def test_what_cannot_be_observed_is_answered(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_stage(lambda request: "plain", coap_network) as stage:
        response = await stage.ask(make_request(observe=0))
        await wait_all_tasks_blocked()
        assert (response.text, response.options.observe) == ("plain", None)
