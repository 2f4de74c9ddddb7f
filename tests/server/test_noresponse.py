"""No-Response (RFC 7967): which responses are not sent, and what is sent instead."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.server import observing
from tests.server.stage import make_request, open_stage, with_option
from trio_coap import ACK, NON, BadRequest, Code, Message, Request, Response, ServiceUnavailable
from trio_coap.testing import VirtualNetwork

EMPTY_ACK = bytes.fromhex("60001234")


def answer(request: Request) -> Response:
    code = Code.of(*[int(digit) for digit in request.payload.split(b".")])
    return Response(code, b"as asked")


async def answer_later(request: Request) -> Response:
    await trio.sleep(0.01)
    return answer(request)


@pytest.mark.parametrize("handler", [answer, answer_later])
@pytest.mark.parametrize(
    ("unwanted", "code"),
    [(2, b"2.5"), (8, b"4.4"), (16, b"5.0"), (26, b"2.4"), (26, b"4.0"), (26, b"5.3"), (10, b"4.15"), (127, b"2.5")],
)
async def test_a_response_that_nobody_wants_is_an_empty_acknowledgement(
    unwanted: int, code: bytes, handler: object, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(handler, coap_network) as stage:  # type: ignore[arg-type]
        stage.send(make_request(code=Code.POST, payload=code, no_response=unwanted))
        started_at = trio.current_time()
        assert (await stage.peer.receive()).encode() == EMPTY_ACK
        assert trio.current_time() - started_at < 0.05
        assert await stage.peer.hears_nothing(300)


@pytest.mark.parametrize("unwanted", [None, 0, 8, 16, 24, 1, 4])
async def test_all_other_responses_go_out(
    unwanted: int | None, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(answer, coap_network) as stage:
        response = await stage.ask(make_request(code=Code.POST, payload=b"2.5", no_response=unwanted))
        assert (response.type, response.text) == (ACK, "as asked")


async def test_an_empty_option_asks_for_all_responses(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_stage(lambda request: "here", coap_network) as stage:
        assert (await stage.ask(with_option(258))).text == "here"


@pytest.mark.parametrize("handler", [answer, answer_later])
async def test_a_non_confirmable_request_is_not_answered_at_all(
    handler: object, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(handler, coap_network) as stage:  # type: ignore[arg-type]
        request = make_request(code=Code.POST, payload=b"2.4", type=NON, no_response=2)
        assert await stage.is_silent_on(request)
        assert (await stage.ask(make_request(code=Code.POST, payload=b"2.4", type=NON, message_id=9))).code == 0x44


async def test_a_late_response_that_nobody_wants_is_not_sent(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def slow(request: Request) -> str:
        await trio.sleep(5)
        return "slow"

    async with open_stage(slow, coap_network) as stage:
        stage.send(make_request(no_response=2))
        assert (await stage.peer.receive()).encode() == EMPTY_ACK
        assert await stage.peer.hears_nothing(300)


async def test_a_duplicate_gets_the_same_empty_acknowledgement(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    calls = []

    def handler(request: Request) -> None:
        calls.append(request)

    async with open_stage(handler, coap_network) as stage:
        for _ in range(3):
            stage.send(make_request(code=Code.POST, no_response=2))
            assert (await stage.peer.receive()).encode() == EMPTY_ACK
    assert len(calls) == 1


async def test_errors_of_the_dispatcher_obey_it(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    def fail(request: Request) -> None:
        raise BadRequest("no")

    async with open_stage(fail, coap_network) as stage:
        unsupported = with_option(9)  # A critical option, for 4.02.
        unsupported.options = unsupported.options.replace(no_response=8)
        stage.send(unsupported)
        assert (await stage.peer.receive()).encode() == EMPTY_ACK
        stage.send(make_request(message_id=2, proxy_scheme="coap", no_response=16))
        assert (await stage.peer.receive()).encode() == bytes.fromhex("60000002")


async def test_the_5_03_of_a_server_at_its_limit_obeys_it(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def handler(request: Request) -> None:
        await trio.sleep(1000)

    async with open_stage(handler, coap_network, max_running_handlers=1) as stage:
        stage.send(make_request(message_id=1, token=b"1"))
        await trio.sleep(1)
        assert (await stage.peer.receive()).encode() == bytes.fromhex("60000001")
        stage.send(make_request(token=b"2", no_response=16))
        assert (await stage.peer.receive()).encode() == EMPTY_ACK


async def test_who_wants_no_success_registers_for_nothing(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    sensor = observing.Sensor()
    async with observing.open_stage(sensor.site, coap_network) as stage:
        stage.send(0, no_response=2)
        assert (await stage.peer.receive()).is_empty
        assert stage.observers == 0


async def test_an_observation_ends_with_an_error_that_the_registration_did_not_want(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    sensor = observing.Sensor()
    async with observing.open_stage(sensor.site, coap_network) as stage:
        assert (await stage.ask(0, no_response=24)).options.observe is not None
        await sensor.change(ServiceUnavailable("broken"))
        last: Message = await stage.receive_and_acknowledge()
        assert last.code is Code.SERVICE_UNAVAILABLE


async def test_a_failed_registration_is_answered_by_nothing_if_its_error_is_not_wanted(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    sensor = observing.Sensor()
    sensor.value = ServiceUnavailable("broken")
    async with observing.open_stage(sensor.site, coap_network) as stage:
        stage.send(0, no_response=16)
        assert (await stage.peer.receive()).is_empty
        assert stage.observers == 0
