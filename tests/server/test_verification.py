"""Unverified addresses do not get more than three times what they send (RFC 9175 section 2.4)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.server import observing
from tests.server.stage import Stage, make_request, open_stage
from trio_coap import (
    ACK,
    CON,
    NON,
    Code,
    EchoPolicy,
    Endpoint,
    Handler,
    Message,
    NotFound,
    Request,
    Response,
    open_client,
    serve,
)
from trio_coap.server import verification
from trio_coap.server.echo import DEFAULT_ECHO_POLICY
from trio_coap.testing import VirtualNetwork

LARGE = "x" * 500


class Counted:
    """A handler with a large answer, which counts how often it runs."""

    def __init__(self, delay: float = 0.0) -> None:
        self.calls = 0
        self.delay = delay
        self.answer = ""

    def __call__(self, request: Request) -> str:
        self.calls += 1
        return self.answer or f"{self.calls} {LARGE}"

    async def later(self, request: Request) -> str:
        await trio.sleep(self.delay)
        return self(request)


def opened(handler: Handler, network: VirtualNetwork, **policy: Any) -> AbstractAsyncContextManager[Stage]:
    return open_stage(handler, network, echo_policy=EchoPolicy(**policy) if policy else DEFAULT_ECHO_POLICY)


def received_and_sent(stage: Stage) -> tuple[int, int]:
    """Return how many octets the server got from the peer, and sent to it."""
    state = stage.endpoint.known_remote(stage.peer.remote)
    assert state is not None
    return state.rx_octets, state.tx_octets


async def verify(stage: Stage) -> None:
    challenge = await stage.ask(make_request(message_id=0x7001, payload=b"verify"))
    answer = await stage.ask(make_request(message_id=0x7002, payload=b"verify", echo=challenge.options.echo))
    assert answer.code is Code.CONTENT


async def test_a_response_that_is_too_large_is_withheld_until_the_address_is_verified(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with opened(Counted(), coap_network) as stage:
        challenge = await stage.ask(make_request())
        assert (challenge.code, challenge.type, challenge.payload) == (Code.UNAUTHORIZED, ACK, b"")
        answer = await stage.ask(make_request(message_id=2, echo=challenge.options.echo))
        assert answer.text.endswith(LARGE)
        # And from now on.
        assert (await stage.ask(make_request(message_id=3))).text.endswith(LARGE)
        statistics = stage.server.statistics()
        assert (statistics.challenges, statistics.verified_addresses) == (1, 1)


@pytest.mark.parametrize("path", ["", "r", "a/long/path"])
@pytest.mark.parametrize("length", [4, 8])
async def test_the_challenge_itself_is_small(
    path: str, length: int, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with opened(Counted(), coap_network) as stage:
        await stage.ask(make_request(path, token=bytes(length)))
        received, sent = received_and_sent(stage)
        assert sent < 3 * received


async def test_what_is_small_goes_out_at_once(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with opened(lambda request: "small", coap_network) as stage:
        for number in range(20):
            assert (await stage.ask(make_request(message_id=number))).text == "small"
        assert stage.server.statistics().challenges == 0


@pytest.mark.parametrize("excess", [0, 1])
async def test_the_limit_is_exact(excess: int, coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    request = make_request()
    size = 3 * len(request.encode()) + excess
    payload = bytes(size - 4 - len(request.token) - 1)
    async with opened(lambda request: payload, coap_network) as stage:
        answer = await stage.ask(request)
        assert answer.code is (Code.UNAUTHORIZED if excess else Code.CONTENT)


def is_within_limit(stage: Stage) -> bool:
    statistics = stage.endpoint.statistics()
    return statistics.tx_octets <= 3 * statistics.rx_octets


async def test_what_was_sent_before_counts(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """Who has got its share is challenged before a handler runs."""
    handler = Counted()
    async with opened(handler, coap_network) as stage:
        size = 3 * len(make_request(payload=b"x" * 100).encode()) - 10
        handler.answer = "x" * size
        assert (await stage.ask(make_request(payload=b"x" * 100))).text == handler.answer
        state = stage.endpoint.known_remote(stage.peer.remote)
        assert state is not None
        state.tx_octets += 100  # Of requests of ours, say.
        challenge = await stage.ask(make_request(message_id=2))
        assert (challenge.code, challenge.type, handler.calls) == (Code.UNAUTHORIZED, ACK, 1)


async def test_a_response_that_is_lost_is_repeated_whatever_the_limit(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def slow(request: Request) -> str:
        await trio.sleep(1)
        return "x" * 10

    async with opened(slow, coap_network) as stage:
        stage.send(make_request(payload=b"x" * 10))
        assert (await stage.peer.receive()).is_empty
        responses = [await stage.peer.receive() for _ in range(5)]
        assert all(response == responses[0] for response in responses)
        assert await stage.peer.hears_nothing(200)
        assert not is_within_limit(stage)


async def test_a_verified_address_gets_all_repetitions(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async def slow(request: Request) -> str:
        await trio.sleep(1 if not request.options.echo else 0)
        return LARGE

    async with opened(slow, coap_network) as stage:
        challenge = await stage.ask(make_request(message_id=1))
        stage.peer.acknowledge(challenge)
        await stage.ask(make_request(message_id=2, echo=challenge.options.echo))
        stage.send(make_request(message_id=3))
        messages = [await stage.peer.receive() for _ in range(6)]
        assert [len(message.payload) for message in messages] == [0] + 5 * [len(LARGE)]


@pytest.mark.parametrize("duplicate", ["40001234", "42011234746b", "50001234"])
async def test_duplicates_that_are_short_do_not_get_much(
    duplicate: str, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with opened(lambda request: "x" * 590, coap_network) as stage:
        request = make_request(payload=b"x" * 200)
        assert (await stage.ask(request)).code is Code.CONTENT
        for _ in range(100):
            stage.send(bytes.fromhex(duplicate))
        await trio.sleep(1)
        assert is_within_limit(stage)
        # The client itself repeats what it has sent.
        assert (await stage.ask(request)).code is Code.CONTENT


async def test_responses_that_wait_for_their_turn_count(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def slow(request: Request) -> str:
        await trio.sleep(10)
        return "x" * 1000

    async with opened(slow, coap_network) as stage:
        for number in range(100):
            stage.send(make_request(message_id=number))
        await trio.sleep(9)
        while not await stage.peer.hears_nothing(0.5):
            pass
        with trio.move_on_after(5000):
            while True:
                message = await stage.peer.receive()
                if message.type is CON:
                    stage.peer.reset(message)
        assert is_within_limit(stage)


async def test_a_factor_of_none_sends_everything_to_anybody(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with opened(Counted(), coap_network, amplification_factor=None) as stage:
        assert (await stage.ask(make_request())).code is Code.CONTENT


async def test_loopback_addresses_need_no_verification() -> None:
    async with trio.open_nursery() as nursery, open_client() as client:
        for host in ("::1", "127.0.0.1"):
            server = await nursery.start(serve, Counted(), host, 0)
            assert (await client.get(server.uri)).text.endswith(LARGE)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("type", [CON, NON])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_diagnostic_that_is_too_large_is_left_out(
    type: object, is_async: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    def fail(request: Request) -> None:
        raise NotFound(LARGE)

    async def fail_later(request: Request) -> None:
        fail(request)

    async with opened(fail_later if is_async else fail, coap_network) as stage:
        answer = await stage.ask(make_request(type=type))  # type: ignore[arg-type]
        assert (answer.code, answer.payload) == (Code.NOT_FOUND, b"")


async def test_an_unwanted_challenge_is_not_sent(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with opened(Counted(), coap_network) as stage:
        stage.send(make_request(no_response=8))
        assert (await stage.peer.receive()).is_empty
        assert await stage.peer.hears_nothing(300)


# Unsafe methods: the handler runs once.


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("delay", [0.01, 3.0])
async def test_the_repetition_of_an_unsafe_request_gets_the_response_that_was_withheld(
    is_async: bool, delay: float, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    handler = Counted(delay)
    async with opened(handler.later if is_async else handler, coap_network) as stage:
        challenge = await stage.ask(make_request(code=Code.POST, payload=b"1"))
        assert (challenge.code, handler.calls) == (Code.UNAUTHORIZED, 1)
        echo = challenge.options.echo
        again = make_request(code=Code.POST, payload=b"1", echo=echo, message_id=2, token=b"other")
        assert (await stage.ask(again)).text == f"1 {LARGE}"
        # Once: another request is another one, though it is the same.
        other = make_request(code=Code.POST, payload=b"1", echo=echo, message_id=3)
        stage.send(other)
        await trio.sleep(5)
        assert handler.calls == 2


async def test_another_unsafe_request_with_the_value_is_not_answered_by_what_was_withheld(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with opened(Counted(), coap_network) as stage:
        echo = (await stage.ask(make_request(code=Code.POST, payload=b"1"))).options.echo
        other = make_request(code=Code.POST, payload=b"2", echo=echo, message_id=2)
        assert (await stage.ask(other)).text == f"2 {LARGE}"


async def test_the_same_request_without_the_value_does_not_run_as_long_as_a_response_is_withheld(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    handler = Counted()
    async with opened(handler, coap_network) as stage:
        await stage.ask(make_request(code=Code.POST, payload=b"1", message_id=1))
        challenge = await stage.ask(make_request(code=Code.POST, payload=b"1", message_id=2))
        assert (challenge.code, handler.calls) == (Code.UNAUTHORIZED, 1)
        again = make_request(code=Code.POST, payload=b"1", echo=challenge.options.echo, message_id=7)
        assert (await stage.ask(again)).text == f"1 {LARGE}"


async def test_without_room_for_its_response_an_unsafe_request_is_challenged_before_it_runs(
    coap_network: VirtualNetwork, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MAX_KEPT", 2)
    handler = Counted()
    async with opened(handler, coap_network) as stage:
        requests = [make_request(code=Code.POST, payload=b"%d" % number, message_id=number) for number in range(4)]
        challenges = [await stage.ask(request) for request in requests]
        assert [challenge.code for challenge in challenges] == [Code.UNAUTHORIZED] * 4
        assert handler.calls == 2
        again = make_request(code=Code.POST, payload=b"3", echo=challenges[3].options.echo, message_id=7)
        assert (await stage.ask(again)).text == f"3 {LARGE}"
        # What nobody asks for is forgotten, and makes room.
        await trio.sleep(300)
        assert stage.server.dispatcher.verification._has_room_for(again, stage.peer.remote, trio.current_time())


# What verifies an address.


async def test_the_acknowledgement_of_a_separate_response_verifies(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def handler(request: Request) -> str:
        if request.payload:
            return LARGE
        await trio.sleep(1)
        return "small"

    async with opened(handler, coap_network) as stage:
        stage.peer.acknowledge(await stage.ask(make_request()))
        assert (await stage.ask(make_request(message_id=2, payload=b"x"))).text == LARGE


async def test_an_acknowledgement_that_may_be_guessed_does_not_verify(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def handler(request: Request) -> str:
        await trio.sleep(1)
        return "small"

    async with opened(handler, coap_network) as stage:
        response = await stage.ask(make_request())
        assert response.message_id is not None
        for guess in range(response.message_id - 20, response.message_id + 1):
            stage.send(Message(type=ACK, message_id=guess % 0x10000))
        await trio.sleep(1)
        assert stage.server.statistics().verified_addresses == 0


async def test_a_reset_does_not_verify(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """It says that nobody there has asked."""

    async def handler(request: Request) -> str:
        await trio.sleep(1)
        return "small"

    async with opened(handler, coap_network) as stage:
        stage.peer.reset(await stage.ask(make_request()))
        await trio.sleep(1)
        assert stage.server.statistics().verified_addresses == 0


@pytest.mark.parametrize("token", [b"1234", b"123"])
async def test_an_answer_to_a_request_of_ours_verifies_if_its_token_cannot_be_guessed(
    token: bytes, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    class Waiting:
        def response_received(self, response: Response, now: float) -> bool:
            return True

        def endpoint_closed(self) -> None:
            pass

    async with opened(Counted(), coap_network) as stage:
        stage.endpoint.tokens[stage.peer.remote, token] = Waiting()
        stage.send(Response(type=NON, message_id=1, token=token))
        await trio.sleep(1)
        assert stage.server.statistics().verified_addresses == (len(token) == 4)


async def test_a_value_that_is_too_old_does_not_verify(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with opened(Counted(), coap_network, value_lifetime=10) as stage:
        echo = (await stage.ask(make_request())).options.echo
        await trio.sleep(11)
        assert (await stage.ask(make_request(message_id=2, echo=echo))).code is Code.UNAUTHORIZED


async def test_an_address_stays_verified_for_its_lifetime(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with opened(Counted(), coap_network, verified_lifetime=1000) as stage:
        await verify(stage)
        await trio.sleep(990)
        assert (await stage.ask(make_request(message_id=2))).code is Code.CONTENT
        await trio.sleep(20)
        assert (await stage.ask(make_request(message_id=3))).code is Code.UNAUTHORIZED
        assert stage.server.statistics().verified_addresses == 0


async def test_verified_addresses_are_bounded_and_the_one_unused_for_longest_goes(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    addresses = [Endpoint((f"192.0.2.{number}", 5683)) for number in range(4)]
    async with opened(Counted(), coap_network, max_verified=3) as stage:
        verified = stage.server.dispatcher.verification
        for address in addresses[:3]:
            verified.add(address, 0.0)
        assert verified.is_verified(addresses[0], 1.0)
        verified.add(addresses[3], 2.0)
        assert [verified.is_verified(address, 3.0) for address in addresses] == [True, False, True, True]
        assert verified.addresses == 3


# Observers.


async def test_the_first_notification_to_an_unverified_observer_is_confirmable(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    sensor = observing.Sensor(confirmable=False)
    async with observing.open_stage(sensor.site, coap_network, echo_policy=DEFAULT_ECHO_POLICY) as stage:
        await stage.ask(0)
        types = []
        for value in range(3):
            await sensor.change(value)
            types.append((await stage.receive_and_acknowledge()).type)
            await trio.sleep(5)
        assert types == [CON, NON, NON]


async def test_a_registration_whose_response_is_too_large_comes_again(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    sensor = observing.Sensor()
    sensor.value = LARGE
    async with observing.open_stage(sensor.site, coap_network, echo_policy=DEFAULT_ECHO_POLICY) as stage:
        challenge = await stage.ask(0)
        assert (challenge.code, challenge.options.observe, stage.observers) == (Code.UNAUTHORIZED, None, 0)
        answer = await stage.ask(0, 2, echo=challenge.options.echo)
        assert answer.options.observe is not None
        assert stage.observers == 1


async def test_an_unverified_address_observes_one_resource_until_it_is_verified(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Otherwise a hundred registrations would have a hundred states sent to whom they name."""
    sensor = observing.Sensor()
    async with observing.open_stage(sensor.site, coap_network, echo_policy=DEFAULT_ECHO_POLICY) as stage:
        assert (await stage.ask(0, 1)).options.observe is not None
        assert (await stage.ask(0, 1)).options.observe is not None, "the same once more is the same"
        refused = await stage.ask(0, 2, token=b"second")
        assert (refused.code, refused.options.observe, stage.observers) == (Code.UNAUTHORIZED, None, 1)
        await sensor.change("new")
        await stage.receive_and_acknowledge()
        assert (await stage.ask(0, 3, token=b"second")).options.observe is not None, (
            "an acknowledgement has verified it"
        )
        assert stage.observers == 2
