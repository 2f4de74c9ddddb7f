"""States that come in blocks (RFC 7959 section 2.6); the peer is played by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from tests.client.observing import Scene
from tests.client.reading import (
    BLOCKS,
    SIZE,
    Consumer,
    block,
    body,
    receive_block_request,
    receive_whole,
    register,
    serve_rest,
)
from tests.observing import assert_nothing_is_left, open_peer, state
from trio_coap import (
    CON,
    NON,
    Block,
    BlockTransferError,
    BodyTooLarge,
    Code,
    LocalProtocolError,
    NotFound,
    Options,
    Progress,
    RepresentationChanged,
    Response,
    TransmissionParameters,
    TransmissionTimeout,
    open_client,
)
from trio_coap.testing import VirtualNetwork


@pytest.fixture
async def scene(coap_network: VirtualNetwork) -> AsyncIterator[Scene]:
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network) as peer:
            yield Scene(client, endpoint, peer, coap_network)


# Whole states.


async def test_the_rest_is_fetched_with_another_token_and_without_observe(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.observe(f"{scene.peer.uri}?q=1", accept=42) as observation:
        registration = await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            for index in range(1, BLOCKS):
                request = await scene.peer.receive_request()
                expected = Options(uri_path=["r"], uri_query=["q=1"], accept=42, block2=Block.of(index, False, SIZE))
                assert (request.type, request.code, request.options) == (CON, Code.GET, expected)
                assert request.token != registration.token
                scene.peer.answer(request, block(1, index))
        response = consumer.last
        assert response.payload == body(1)
        # The options are those of the notification; what is whole is no block any more.
        assert (response.options.observe, response.options.etag, response.options.block2) == (1, b"1", None)
        assert observation.skipped == 0
    assert_nothing_is_left(scene.endpoint)


async def test_each_notification_is_read_whole(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        registration = await register(scene)
        assert (await receive_whole(scene, observation, 1)).payload == body(1)
        for number in (2, 3):
            scene.peer.notify(registration, block(number, 0, observe=number), NON)
            assert (await receive_whole(scene, observation, number)).payload == body(number)
        assert observation.skipped == 0


async def test_a_plain_response_is_read_whole_too(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        await register(scene, observe=None)
        assert (await receive_whole(scene, observation, 1)).payload == body(1)
        with pytest.raises(trio.EndOfChannel):
            await observation.receive()
    assert_nothing_is_left(scene.endpoint)


async def test_nothing_is_fetched_before_somebody_receives(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        registration = await register(scene)
        for number in (2, 3):
            scene.peer.notify(registration, block(number, 0, observe=number), NON)
        assert await scene.peer.hears_nothing(100)
        assert (await receive_whole(scene, observation, 3)).payload == body(3)
        assert observation.skipped == 2


async def test_the_block_size_is_asked_for_in_the_registration(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(scene.peer.uri, block_size=SIZE) as observation:
        registration = await register(scene)
        assert registration.options.block2 == Block.of(0, False, SIZE)
        assert (await receive_whole(scene, observation, 1)).payload == body(1)


async def test_who_names_the_first_block_gets_first_blocks(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(scene.peer.uri, block2=Block.of(0, False, SIZE)) as observation:
        registration = await register(scene)
        first = await observation.receive()
        assert (first.payload, first.options.block2) == (body(1)[:SIZE], Block.of(0, True, SIZE))
        scene.peer.notify(registration, block(2, 0, observe=2), NON)
        assert (await observation.receive()).payload == body(2)[:SIZE]


async def test_no_other_block_can_be_observed(scene: Scene) -> None:
    with pytest.raises(LocalProtocolError):
        scene.client.observe(scene.peer.uri, block2=Block.of(1, False, SIZE))


async def test_the_blocks_of_a_fetch_are_asked_for_with_its_body(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(scene.peer.uri, "what", code=Code.FETCH) as observation:
        await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            for index in range(1, BLOCKS):
                request = await scene.peer.receive_request()
                assert (request.code, request.text, request.options.content_format) == (Code.FETCH, "what", 0)
                scene.peer.answer(request, block(1, index))
        assert consumer.last.payload == body(1)


@pytest.mark.parametrize(("length", "size"), [(1025, None), (65, 64)])
async def test_a_fetch_that_does_not_fit_into_a_block_cannot_be_observed(
    length: int, size: int | None, scene: Scene
) -> None:
    with pytest.raises(LocalProtocolError, match="one block"):
        scene.client.observe(scene.peer.uri, bytes(length), code=Code.FETCH, block_size=size)


async def test_blocks_are_asked_for_confirmable_whatever_the_registration_is(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.observe(scene.peer.uri, confirmable=False) as observation:
        registration = await scene.peer.receive_request()
        scene.peer.notify(registration, block(1, 0, observe=1), NON)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            lost = await receive_block_request(scene)
            assert lost.type is CON
            await serve_rest(scene, 1)
        assert consumer.last.payload == body(1)


async def test_progress_is_that_of_the_state_that_is_read(scene: Scene, autojump_clock: MockClock) -> None:
    progress = Progress()
    async with scene.client.observe(scene.peer.uri, progress=progress) as observation:
        await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            request = await scene.peer.receive_request()
            assert progress.received == SIZE
            scene.peer.answer(request, block(1, 1))
            request = await scene.peer.receive_request()
            assert progress.received == 2 * SIZE
            scene.peer.answer(request, block(1, 2))
        assert progress.received == progress.to_receive == len(body(1))


# Changes meanwhile.


async def test_a_newer_notification_begins_the_reading_again(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        registration = await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            abandoned = await scene.peer.receive_request()
            scene.peer.notify(registration, block(2, 0, observe=2), NON)
            await serve_rest(scene, 2)
        assert consumer.last.payload == body(2)
        assert consumer.last.options.observe == 2
        assert observation.skipped == 1
        scene.peer.answer(abandoned, block(1, 1))  # It is too late.
        assert await scene.peer.hears_nothing(50)


async def test_a_notification_of_the_same_state_does_not(scene: Scene, autojump_clock: MockClock) -> None:
    """Or a body that takes longer than Max-Age would never be read, because the registration brings it again."""
    async with scene.observe() as observation:
        registration = await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            request = await scene.peer.receive_request()
            scene.peer.notify(registration, block(1, 0, observe=2), NON)
            await trio.sleep(0.1)
            scene.peer.answer(request, block(1, 1))
            request = await receive_block_request(scene)
            assert request.options.block2 == Block.of(2, False, SIZE)
            scene.peer.answer(request, block(1, 2))
        assert consumer.last.payload == body(1)
        assert observation.skipped == 0
        with trio.move_on_after(100) as scope:
            await observation.receive()
        assert scope.cancelled_caught


async def test_a_last_response_begins_it_again_too(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        registration = await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            await scene.peer.receive_request()
            scene.peer.notify(registration, Response(Code.NOT_FOUND), NON)
        assert consumer.last.code == Code.NOT_FOUND
        with pytest.raises(trio.EndOfChannel):
            await observation.receive()
    assert_nothing_is_left(scene.endpoint)


async def test_a_state_that_has_changed_is_skipped_and_the_next_one_comes(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.observe() as observation:
        registration = await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            scene.peer.answer(await scene.peer.receive_request(), block(2, 1))
            await trio.sleep(1)
            assert consumer.outcomes == []
            scene.peer.notify(registration, block(2, 0, observe=2), NON)
            await serve_rest(scene, 2)
        assert consumer.last.payload == body(2)
        assert observation.skipped == 1


@pytest.mark.parametrize(
    ("answer", "shortest", "longest"),
    [
        (block(2, 1), 5, 15),
        (Response(Code.NOT_FOUND), 5, 15),
        (Response(Code.SERVICE_UNAVAILABLE, max_age=30), 35, 45),
        (block(1, 2), 5, 15),
    ],
    ids=["changed", "4.04", "5.03", "another block"],
)
async def test_without_a_notification_it_registers_again_soon(
    answer: Response, shortest: float, longest: float, scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.observe() as observation:
        registration = await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            scene.peer.answer(await scene.peer.receive_request(), answer.replace())
            failed_at = trio.current_time()
            again = await register(scene, 3, observe=7)
            assert shortest <= trio.current_time() - failed_at <= longest + 0.1
            assert again.token == registration.token
            await serve_rest(scene, 3)
        assert consumer.last.payload == body(3)
        assert observation.skipped == 1


async def fail_to_read(scene: Scene, answer: Response, times: int) -> None:
    for count in range(times):
        if count:
            await register(scene, 1, observe=count + 1)
        scene.peer.answer(await scene.peer.receive_request(), answer.replace())


async def test_the_fourth_failure_in_a_row_is_raised_and_the_observation_goes_on(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.observe() as observation:
        registration = await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            await fail_to_read(scene, block(2, 1), 4)
        assert isinstance(consumer.outcomes[0], RepresentationChanged)
        assert observation.is_observed
        assert observation.skipped == 4
        scene.peer.notify(registration, block(5, 0, observe=100), NON)
        assert (await receive_whole(scene, observation, 5)).payload == body(5)


async def test_a_state_that_was_read_begins_the_count_anew(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        await register(scene)
        for _ in range(3):
            consumer = Consumer(observation)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(consumer.receive)
                await fail_to_read(scene, Response(Code.NOT_FOUND), 2)
                await register(scene, 3, observe=50)
                await serve_rest(scene, 3)
            assert consumer.last.payload == body(3)
            await trio.sleep(129)  # Every number is newer then.
            scene.peer.notify(observation.request, block(1, 0, observe=1), NON)


@pytest.mark.parametrize(
    ("answer", "error"), [(block(2, 1), RepresentationChanged), (Response(Code.NOT_FOUND), NotFound)]
)
async def test_a_failure_with_the_last_state_is_raised(
    answer: Response, error: type[Exception], scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.observe() as observation:
        await register(scene, observe=None)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            scene.peer.answer(await scene.peer.receive_request(), answer.replace())
        assert isinstance(consumer.outcomes[0], error)
        with pytest.raises(trio.EndOfChannel):
            await observation.receive()
    assert_nothing_is_left(scene.endpoint)


async def test_a_server_that_is_gone_is_an_error_in_the_end(scene: Scene, autojump_clock: MockClock) -> None:
    quick = TransmissionParameters(ack_timeout=1, max_retransmit=1)
    async with scene.client.observe(scene.peer.uri, parameters=quick) as observation:
        await register(scene)
        with pytest.raises(TransmissionTimeout):
            await observation.receive()
        assert not observation.is_observed
        assert observation.skipped == 1
    assert_nothing_is_left(scene.endpoint)


@pytest.mark.parametrize("first", [block(1, 0, observe=1), state(1, "x" * 35)], ids=["blocks", "one message"])
async def test_a_state_above_max_body_is_an_error_and_the_observation_goes_on(
    first: Response, scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.observe(scene.peer.uri, max_body=34) as observation:
        registration = await scene.peer.receive_request()
        scene.peer.answer(registration, first.replace())
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            if first.options.block2 is not None:
                await serve_rest(scene, 1)
        assert isinstance(consumer.outcomes[0], BodyTooLarge)
        scene.peer.notify(registration, state(2, "small"), NON)
        assert (await observation.receive()).text == "small"


async def test_a_first_block_that_cannot_be_one_is_an_error(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        request = await scene.peer.receive_request()
        scene.peer.answer(request, block(1, 1))
        with pytest.raises(BlockTransferError):
            await observation.receive()


# Cancelling and leaving.


async def test_cancelling_loses_nothing(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        await register(scene)
        for _ in range(3):
            with trio.move_on_after(0.5):
                await observation.receive()
        assert scene.endpoint.statistics().tokens == 1  # That of the observation.
        while not await scene.peer.hears_nothing(0.1):
            pass
        assert (await receive_whole(scene, observation, 1)).payload == body(1)
        assert observation.skipped == 0


async def test_after_cancelling_the_newest_state_counts(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        registration = await register(scene)
        with trio.move_on_after(0.5):
            await observation.receive()
        await scene.peer.receive_request()
        scene.peer.notify(registration, block(2, 0, observe=2), NON)
        await trio.sleep(1)
        assert (await receive_whole(scene, observation, 2)).payload == body(2)
        assert observation.skipped == 1


async def test_leaving_ends_a_reading(scene: Scene, autojump_clock: MockClock) -> None:
    observation = scene.observe()
    consumer = Consumer(observation)
    async with trio.open_nursery() as nursery:
        async with observation:
            await register(scene)
            nursery.start_soon(consumer.receive)
            await scene.peer.receive_request()
        assert isinstance(consumer.outcomes[0], trio.ClosedResourceError)
    assert_nothing_is_left(scene.endpoint)


async def test_closing_the_endpoint_ends_a_reading(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.receive)
            await scene.peer.receive_request()
            scene.endpoint.close()
        assert isinstance(consumer.outcomes[0], trio.ClosedResourceError)


async def test_two_consumers_get_a_state_each(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe() as observation:
        registration = await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(consumer.receive)
            await serve_rest(scene, 1)
            await trio.sleep(0.1)
            assert [consumer.last.payload] == [body(1)]
            scene.peer.notify(registration, block(2, 0, observe=2), NON)
            await serve_rest(scene, 2)
        assert consumer.last.payload == body(2)
        assert len(consumer.outcomes) == 2


async def test_the_consumer_that_gives_up_leaves_the_state_to_the_other(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.observe() as observation:
        await register(scene)
        consumer = Consumer(observation)
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_later, scope)
                nursery.start_soon(receive_later, consumer)
                await observation.receive()
            await receive_block_request(scene)  # Of the one that has given up.
            await serve_rest(scene, 1)
        assert consumer.last.payload == body(1)


async def cancel_later(scope: trio.CancelScope) -> None:
    await trio.sleep(0.5)
    scope.cancel()


async def receive_later(consumer: Consumer) -> None:
    await trio.sleep(0.2)
    await consumer.receive()
