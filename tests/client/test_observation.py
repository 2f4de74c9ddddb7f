"""Observations by a client (RFC 7641 section 3); the peer is played by hand, or lives across a network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from tests.client.observing import Scene
from tests.observing import assert_nothing_is_left, open_peer, state
from trio_coap import (
    ACK,
    CON,
    NON,
    RST,
    Code,
    Limits,
    LocalProtocolError,
    MessageType,
    NetworkError,
    Observation,
    Options,
    PendingLimitReached,
    Request,
    ResetReceived,
    Response,
    TransmissionTimeout,
    UnprocessableResponse,
    open_client,
)
from trio_coap.client.observation import is_newer
from trio_coap.testing import VirtualNetwork


@pytest.fixture
async def scene(coap_network: VirtualNetwork) -> AsyncIterator[Scene]:
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network) as peer:
            yield Scene(client, endpoint, peer, coap_network)


# States.


async def test_states_come_as_they_are_sent(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery, scene.observe() as observation:
        request = await scene.establish()
        assert (request.type, request.options) == (CON, Options(observe=0, uri_path=["r"]))
        assert (await observation.receive()).text == "1"
        assert observation.is_observed
        for number, type in ((2, CON), (3, NON)):
            scene.peer.notify(request, state(number), type)
            assert (await observation.receive()).text == str(number)
        assert (await scene.peer.receive()).type is ACK
        nursery.start_soon(scene.expect_deregistration, request.token)
    assert not observation.is_observed
    assert_nothing_is_left(scene.endpoint)


@pytest.mark.parametrize("type", [CON, NON])
async def test_a_separate_first_response_registers_too(
    type: MessageType, scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.observe() as observation:
        request = await scene.peer.receive_request()
        scene.peer.acknowledge(request)
        await trio.sleep(200)  # A first response may take its time.
        scene.peer.notify(request, state(1), type)
        assert (await observation.receive()).text == "1"
        assert observation.is_observed
    assert_nothing_is_left(scene.endpoint)


async def test_an_overtaken_notification_is_acknowledged_and_dropped(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        request = await scene.establish(5)
        await observation.receive()
        late = scene.peer.notify(request, state(4))
        ack = await scene.peer.receive()
        assert (ack.type, ack.message_id) == (ACK, late)
        scene.peer.notify(request, state(6))
        assert (await observation.receive()).text == "6"
        assert observation.skipped == 0


async def test_a_notification_may_overtake_the_first_response(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        request = await scene.peer.receive_request()
        scene.peer.notify(request, state(2), NON)
        assert (await observation.receive()).text == "2"
        assert observation.is_observed
        scene.peer.answer(request, state(1))
        scene.peer.notify(request, state(3), NON)
        await trio.sleep(1)
        assert (await observation.receive()).text == "3"
        assert observation.skipped == 0


async def test_after_128_seconds_every_number_is_newer(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        request = await scene.establish(5, max_age=1000)
        await observation.receive()
        await trio.sleep(129)
        scene.peer.notify(request, state(4))
        assert (await observation.receive()).text == "4"


@pytest.mark.parametrize(
    ("number", "last", "elapsed", "expected"),
    [
        (2, 1, 0, True),
        (1, 1, 0, False),
        (1, 2, 0, False),
        (0, 0xFFFFFF, 0, True),
        (0xFFFFFF, 0, 0, False),
        (1 << 23, 1, 0, True),
        (1 << 23, 0, 0, False),
        (1, 2, 128, False),
        (1, 2, 128.1, True),
    ],
)
def test_freshness(number: int, last: int, elapsed: float, expected: bool) -> None:
    """RFC 7641 section 3.4."""
    assert is_newer(number, 1000 + elapsed, last, 1000) is expected


async def test_the_newest_state_wins_when_the_consumer_is_slow(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        request = await scene.establish()
        for number in range(2, 10):
            scene.peer.notify(request, state(number), NON)
        await trio.sleep(1)
        assert (await observation.receive()).text == "9"
        assert observation.skipped == 8
        scene.peer.notify(request, state(10), NON)
        assert (await observation.receive()).text == "10"
        assert observation.skipped == 8


# Registering again.


@pytest.mark.parametrize("max_age", [None, 0, 5, 3600])
async def test_it_registers_again_some_time_after_max_age(
    max_age: int | None, scene: Scene, autojump_clock: MockClock
) -> None:
    """RFC 7641 section 3.3.1: Max-Age plus 5 to 15 s, under the same token; whether or not somebody iterates."""
    async with scene.observe() as observation:
        first = await scene.establish(1, max_age=max_age)
        started_at = trio.current_time()
        second = await scene.establish(2, max_age=max_age)
        waited = trio.current_time() - started_at - (60 if max_age is None else max_age)
        assert 5 <= waited <= 15.1
        assert second.token == first.token
        assert second.message_id != first.message_id
        assert second.options == first.options
        await trio.sleep(1)
        assert (await observation.receive()).text == "2"


async def test_a_notification_puts_off_registering_again(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe():
        request = await scene.establish(1, max_age=10)
        for number in range(2, 20):
            assert await scene.peer.hears_nothing(14)
            scene.peer.notify(request, state(number, max_age=10), NON)
        await scene.establish(20)


async def test_the_delays_differ(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe():
        times = []
        for number in range(6):
            await scene.establish(number, max_age=0)
            times.append(trio.current_time())
    assert len({round(after - before) for before, after in pairwise(times)}) > 2


async def test_a_server_that_counts_anew_is_believed(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        await scene.establish(500, max_age=5)
        await observation.receive()
        await scene.establish(1, max_age=5)
        assert (await observation.receive()).text == "1"


async def test_a_registration_that_is_acknowledged_and_not_answered_is_sent_again(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.observe():
        await scene.establish(1, max_age=5)
        scene.peer.acknowledge(await scene.peer.receive_request())
        assert (await scene.peer.receive_request()).options.observe == 0


async def test_a_first_registration_that_is_acknowledged_and_not_answered_is_sent_again(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """The server may have been restarted meanwhile; a handler that takes four minutes is less likely."""
    async with scene.observe() as observation:
        scene.peer.acknowledge(await scene.peer.receive_request())
        assert await scene.peer.hears_nothing(scene.endpoint.parameters.exchange_lifetime - 1)
        await scene.establish()
        assert (await observation.receive()).text == "1"


@pytest.mark.parametrize("type", [CON, NON])
async def test_a_server_that_counts_anew_and_answers_separately_is_asked_afresh(
    type: MessageType, scene: Scene, autojump_clock: MockClock
) -> None:
    """The answer could as well be a notification from before, on a long way."""
    async with scene.observe() as observation:
        first = await scene.establish(1000, max_age=10)
        await observation.receive()
        again = await scene.peer.receive_request()
        scene.peer.acknowledge(again)
        await trio.sleep(1)
        scene.peer.notify(again, state(1, max_age=10), type)
        afresh = await scene.peer.receive_request()
        assert (afresh.options.observe, again.token) == (0, first.token)
        assert afresh.token != first.token
        scene.peer.answer(afresh, state(2, max_age=10))
        assert (await observation.receive()).text == "2"
        scene.peer.notify(again, state(3), CON)
        replies = [await scene.peer.receive() for _ in range(2 if type is CON else 1)]
        assert replies[-1].type is RST


async def test_an_answer_with_an_older_number_than_what_came_just_before_it_is_asked_for_afresh(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.observe() as observation:
        await scene.establish(1000, max_age=10)
        again = await scene.peer.receive_request()
        scene.peer.notify(again, state(1001), NON)
        scene.peer.answer(again, state(1, max_age=10))
        await scene.establish(2)
        await trio.sleep(0.1)
        assert (await observation.receive()).text == "2"
    assert_nothing_is_left(scene.endpoint)


async def test_a_server_that_is_gone_is_an_error_of_the_iteration(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        await scene.establish(1)
        assert [response.text async for response in _until_error(observation)] == ["1"]
        with pytest.raises(TransmissionTimeout):
            await observation.receive()
        assert not observation.is_observed
        while not await scene.peer.hears_nothing(0.1):
            pass
    assert await scene.peer.hears_nothing(300)
    assert_nothing_is_left(scene.endpoint)


async def _until_error(observation: Observation) -> AsyncIterator[Response]:
    try:
        async for response in observation:
            yield response
    except TransmissionTimeout:
        return


async def test_a_reset_of_a_registration_is_an_error_of_the_iteration(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        scene.peer.reset(await scene.peer.receive_request())
        with pytest.raises(ResetReceived):
            await anext(observation)
    assert await scene.peer.hears_nothing(300)


async def test_a_network_error_is_an_error_of_the_iteration(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(f"coap://{scene.peer.endpoint.remote.uri_host}:99/r") as observation:
        with pytest.raises(NetworkError):
            await anext(observation)
    assert_nothing_is_left(scene.endpoint)


async def test_a_registration_that_fails_at_once_is_an_error_of_the_iteration(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.observe(
        "coap://[2001:db8::5]/r"
    ) as observation:  # There is no address of this family here.
        with pytest.raises(NetworkError):
            await observation.receive()
    assert_nothing_is_left(scene.endpoint)


@pytest.mark.parametrize("is_left", [True, False])
async def test_too_much_waits_for_the_server_already(
    is_left: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Registering again is an error then, deregistering is left to a Reset."""
    limits = Limits(max_pending_per_remote=1)
    async with (
        coap_network.open_endpoint("client", limits=limits) as endpoint,
        open_client(endpoint=endpoint) as client,
    ):
        with open_peer(coap_network) as peer:
            async with client.observe(peer.uri) as observation:
                peer.answer(await peer.receive_request(), state(1, max_age=1))
                await observation.receive()
                for _ in range(2):  # One is sent, one waits.
                    endpoint.send(Request(Code.GET, token=b"other"), peer.endpoint.remote)
                if not is_left:
                    with pytest.raises(PendingLimitReached):
                        await observation.receive()
        assert (
            len([r for r in coap_network.trace.select(source="client") if r.message and r.message.token != b"other"])
            == 1
        )


async def test_the_next_address_is_tried(scene: Scene, autojump_clock: MockClock) -> None:
    scene.network.host("2001:db8::1", "10.1.0.3", name="both")
    scene.network.add_address("client", "2001:db8::9")
    with open_peer(scene.network, "10.1.0.3") as peer:
        async with scene.client.observe("coap://both/r") as observation:
            request = await peer.receive_request()
            peer.answer(request, state(1))
            assert (await observation.receive()).text == "1"
    assert_nothing_is_left(scene.endpoint)


# The end.


async def test_a_first_response_without_observe_is_a_plain_response(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        request = await scene.peer.receive_request()
        scene.peer.answer(request, Response(Code.CONTENT, "plain"))
        assert [response.text async for response in observation] == ["plain"]
        assert not observation.is_observed
    assert await scene.peer.hears_nothing(300)
    assert_nothing_is_left(scene.endpoint)


@pytest.mark.parametrize(
    "last", [Response(Code.NOT_FOUND, b"gone"), Response(Code.CONTENT, "last")], ids=["4.04", "2.05"]
)
async def test_an_error_and_a_response_without_observe_are_the_last(
    last: Response, scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.observe() as observation:
        request = await scene.establish()
        await observation.receive()
        scene.peer.notify(request, last.replace())
        assert (await scene.peer.receive()).type is ACK
        assert [(response.code, response.payload) async for response in observation] == [(last.code, last.payload)]
        assert not observation.is_observed
    assert await scene.peer.hears_nothing(300)


async def test_an_error_with_observe_is_the_last_too(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        request = await scene.establish()
        scene.peer.notify(request, Response(Code.NOT_FOUND, observe=2))
        await trio.sleep(1)
        assert [response.code async for response in observation] == [Code.NOT_FOUND]


async def test_an_unknown_critical_option_ends_it(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        request = await scene.establish()
        await observation.receive()
        number = scene.peer.notify(request, Response(options=Options.from_wire(((6, b"\x02"), (65001, b"")))))
        with pytest.raises(UnprocessableResponse):
            await observation.receive()
        reset = await scene.peer.receive()
        assert (reset.type, reset.message_id) == (RST, number)


async def test_closing_the_endpoint_ends_it(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        await scene.establish()
        await observation.receive()
        scene.endpoint.close()
        with pytest.raises(trio.ClosedResourceError):
            await observation.receive()


# The arguments.


async def test_a_non_confirmable_registration(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(scene.peer.uri, confirmable=False) as observation:
        request = await scene.peer.receive_request()
        assert request.type is NON
        scene.peer.notify(request, state(1, max_age=1), NON)
        assert (await observation.receive()).text == "1"
        for _ in range(2):  # Nothing says whether the first one has arrived.
            again = await scene.peer.receive_request()
            assert (again.type, again.token, again.options.observe) == (NON, request.token, 0)
    await scene.expect_deregistration(request.token)


async def test_a_fetch_can_be_observed(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(scene.peer.uri, "what", code=Code.FETCH) as observation:
        request = await scene.establish()
        assert (request.code, request.payload) == (Code.FETCH, b"what")
        assert (await observation.receive()).text == "1"


async def test_no_other_method_can_be_observed(scene: Scene) -> None:
    with pytest.raises(LocalProtocolError):
        scene.client.observe(scene.peer.uri, code=Code.POST)


async def test_it_is_entered_once_and_before_it_is_used(scene: Scene, autojump_clock: MockClock) -> None:
    observation = scene.observe()
    with pytest.raises(LocalProtocolError):
        await observation.receive()
    with pytest.raises(LocalProtocolError):
        _ = observation.request
    async with observation:
        assert observation.request.options.observe == 0
        with pytest.raises(LocalProtocolError):
            await observation.__aenter__()
