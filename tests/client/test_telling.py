"""Requests that want no answer (RFC 7967); the peer is played by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left, open_peer, reply
from trio_coap import (
    CON,
    NON,
    RST,
    Code,
    NetworkError,
    Options,
    ResetReceived,
    Response,
    TransmissionParameters,
    TransmissionTimeout,
    UnprocessableResponse,
)
from trio_coap.client.arguments import RequestArguments


class Outcome:
    """What became of a call."""

    def __init__(self) -> None:
        self.at: float | None = None
        self.response: Response | None = None
        self.error: Exception | None = None

    def check(self) -> Response | None:
        assert self.at is not None
        if self.error is not None:
            raise self.error
        return self.response


@contextmanager
def told(scene: Scene, nursery: trio.Nursery, uri: str = "", **arguments: object) -> Iterator[Outcome]:
    outcome = Outcome()

    async def run() -> None:
        given: RequestArguments = arguments  # type: ignore[assignment]
        try:
            outcome.response = await scene.client.tell(Code.PUT, uri or scene.uri, "on", **given)
        except Exception as exc:
            outcome.error = exc
        outcome.at = trio.current_time()

    nursery.start_soon(run)
    yield outcome


async def test_a_confirmable_one_is_over_when_it_is_acknowledged(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with told(scene, nursery) as outcome:
            request = await scene.peer.receive_request()
            assert (request.type, request.code, request.text) == (CON, Code.PUT, "on")
            assert request.options == Options(uri_path=["r"], content_format=0, no_response=26)
            await trio.sleep(0.5)
            assert outcome.at is None
            scene.peer.acknowledge(request)
    assert outcome.check() is None
    assert_nothing_is_left(scene.endpoint)


async def test_an_answer_in_the_acknowledgement_is_returned(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with told(scene, nursery, no_response=2) as outcome:
            request = await scene.peer.receive_request()
            assert request.options.no_response == 2
            scene.peer.piggyback(request, Response(Code.NOT_FOUND, b"no such lamp"))
    response = outcome.check()
    assert response is not None
    assert (response.code, response.text) == (Code.NOT_FOUND, "no such lamp")
    assert_nothing_is_left(scene.endpoint)


async def test_a_separate_answer_means_that_it_has_arrived(scene: Scene, autojump_clock: MockClock) -> None:
    """The acknowledgement was lost (RFC 7252 section 5.2.2)."""
    async with trio.open_nursery() as nursery:
        with told(scene, nursery) as outcome:
            request = await scene.peer.receive_request()
            scene.peer.send(reply(request, Response(Code.CHANGED), type=NON, message_id=1))
    response = outcome.check()
    assert response is not None
    assert response.code == Code.CHANGED
    assert_nothing_is_left(scene.endpoint)


async def test_an_answer_that_comes_later_is_reset(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with told(scene, nursery) as outcome:
            request = await scene.peer.receive_request()
            scene.peer.acknowledge(request)
    await trio.sleep(1)
    assert outcome.check() is None
    scene.peer.send(reply(request, Response(Code.CHANGED), type=CON, message_id=7))
    reset = await scene.peer.receive()
    assert (reset.type, reset.message_id) == (RST, 7)


async def test_a_non_confirmable_one_is_over_when_it_is_sent(scene: Scene, autojump_clock: MockClock) -> None:
    started_at = trio.current_time()
    assert await scene.client.tell(Code.PUT, scene.uri, "on", confirmable=False) is None
    assert trio.current_time() == started_at
    request = await scene.peer.receive_request()
    assert (request.type, request.options.no_response) == (NON, 26)
    assert_nothing_is_left(scene.endpoint)


async def test_a_non_confirmable_one_waits_for_probing_rate(scene: Scene, autojump_clock: MockClock) -> None:
    """RFC 7252 section 4.7: one octet a second to somebody who does not say anything."""
    sent_at = []
    for _ in range(3):
        await scene.client.tell(Code.PUT, scene.uri, "on", confirmable=False)
        sent_at.append(trio.current_time())
    seen = [record.time for record in scene.network.trace.select(source="client")]
    assert sent_at == seen
    assert seen[2] > seen[1] > seen[0]


async def test_one_that_is_cancelled_while_it_is_held_back_is_never_sent(
    scene: Scene, autojump_clock: MockClock
) -> None:
    await scene.client.tell(Code.PUT, scene.uri, "first", confirmable=False)
    with trio.move_on_after(1):
        await scene.client.tell(Code.PUT, scene.uri, "second", confirmable=False)
    await trio.sleep(1000)
    assert len(scene.network.trace.select(source="client")) == 1
    assert_nothing_is_left(scene.endpoint)


async def test_without_an_acknowledgement_it_has_failed(scene: Scene, autojump_clock: MockClock) -> None:
    quick = TransmissionParameters(ack_timeout=1, max_retransmit=1)
    with pytest.raises(TransmissionTimeout):
        await scene.client.tell(Code.PUT, scene.uri, "on", parameters=quick)
    assert_nothing_is_left(scene.endpoint)


async def test_a_reset_means_that_it_has_failed(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with told(scene, nursery) as outcome:
            scene.peer.reset(await scene.peer.receive_request())
    with pytest.raises(ResetReceived):
        outcome.check()


@pytest.mark.parametrize("confirmable", [True, False])
async def test_an_address_that_cannot_be_reached_is_an_error(
    confirmable: bool, scene: Scene, autojump_clock: MockClock
) -> None:
    with pytest.raises(NetworkError):  # There is no address of this family here.
        await scene.client.tell(Code.PUT, "coap://[2001:db8::5]/r", confirmable=confirmable)
    assert_nothing_is_left(scene.endpoint)


@pytest.mark.parametrize("confirmable", [True, False])
async def test_the_next_address_is_told(confirmable: bool, scene: Scene, autojump_clock: MockClock) -> None:
    scene.network.host("2001:db8::1", "10.1.0.3", name="both")  # There is no address of the first's family here.
    with open_peer(scene.network, "10.1.0.3") as peer:
        async with trio.open_nursery() as nursery:
            with told(scene, nursery, "coap://both/r", confirmable=confirmable) as outcome:
                request = await peer.receive_request()
                if confirmable:
                    peer.acknowledge(request)
    assert outcome.check() is None
    assert_nothing_is_left(scene.endpoint)


async def test_a_critical_option_that_is_not_known_is_an_error(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with told(scene, nursery) as outcome:
            request = await scene.peer.receive_request()
            scene.peer.piggyback(request, Response(Code.CHANGED, options=Options.from_wire(((65001, b""),))))
    with pytest.raises(UnprocessableResponse):
        outcome.check()


async def test_closing_the_endpoint_ends_it(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with told(scene, nursery) as outcome:
            await scene.peer.receive_request()
            scene.endpoint.close()
    with pytest.raises(trio.ClosedResourceError):
        outcome.check()
