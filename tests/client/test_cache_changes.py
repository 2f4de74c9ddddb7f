"""The client's cache: what changes resources, several requests at a time, and observations."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from tests.client.caching import House, open_house
from tests.client.observing import Scene
from tests.observing import cancel_at_every_await, open_peer, state
from trio_coap import (
    NON,
    Block,
    Code,
    Request,
    Response,
    ResponseCache,
    open_client,
)
from trio_coap.testing import VirtualNetwork

CHANGING = [Code.PUT, Code.POST, Code.DELETE, Code.PATCH, Code.IPATCH]


# Invalidation (section 5.9.1)


@pytest.mark.parametrize("code", CHANGING, ids=str)
async def test_a_change_makes_all_that_is_stored_of_the_resource_not_fresh(
    code: Code, autojump_clock: MockClock
) -> None:
    async with open_house() as house:
        for arguments in ({}, {"accept": 50}, {"uri_query": ["x"]}):
            await house.get(**arguments)
        await house.client.fetch("/r", b"what")
        await house.get("/other")
        await house.client.exchange(code, "/r?how", b"")
        house.says(b"2")
        assert await house.get() == b"2"
        assert await house.get(accept=50) == b"2"
        assert await house.get(uri_query=["x"]) == b"2"
        assert (await house.client.fetch("/r", b"what")).payload == b"2"
        assert await house.get("/other") == b"1"


async def test_what_is_not_fresh_for_a_change_can_still_be_validated(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1")
        await house.get()
        await house.client.post("/r")
        assert await house.get() == b"1"
        assert house.requests[-1].options.etags == (b"1",)


async def test_a_change_that_is_refused_leaves_everything_fresh(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.get()
        house.answer = lambda request: Response(Code.FORBIDDEN)
        await house.client.put("/r", b"2")
        assert await house.get() == b"1"
        assert house.asked == 2


async def test_a_change_of_which_nobody_knows_the_outcome_counts(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.delays = [0, 10]
        await house.get()
        with trio.move_on_after(5):
            await house.client.put("/r", b"2")
        await house.get()
        assert house.asked == 3
        house.says(b"", Code.GATEWAY_TIMEOUT)
        house.answer = lambda request: Response(Code.GATEWAY_TIMEOUT)
        await house.client.put("/r", b"2")
        await house.get()
        assert house.asked == 5


async def test_what_is_created_elsewhere_is_not_fresh(autojump_clock: MockClock) -> None:
    """Section 5.9.1.1: Location-Path and -Query say where; the request's URI lists it, perhaps."""
    async with open_house() as house:
        await house.get("/r")
        await house.get("/r/7")
        house.answer = lambda request: Response(Code.CREATED, location_path=["r", "7"])
        await house.client.post("/r")
        house.says(b"2")
        assert [await house.get("/r"), await house.get("/r/7")] == [b"2", b"2"]


async def test_a_stream_that_changes_the_resource_counts(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.get()
        async with house.client.stream(Code.PUT, "/r", iter([bytes(3000), b"end"])) as streamed:
            assert streamed.code is Code.CONTENT
        asked = house.asked
        await house.get()
        assert house.asked == asked + 1


async def test_a_handle_that_changes_the_resource_counts(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.get()
        async with house.client.request(Code.PUT, "/r", b"2") as handle:
            await handle.receive()
            house.says(b"2")
            assert await house.get() == b"2"
        assert await house.get() == b"2"
        assert house.asked == 3  # Leaving changes nothing.


async def test_a_handle_that_is_refused_leaves_everything_fresh(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.get()
        house.answer = lambda request: Response(Code.FORBIDDEN)
        async with house.client.request(Code.PUT, "/r", b"2") as handle:
            await handle.receive()
        assert await house.get() == b"1"


async def test_a_handle_that_is_left_before_the_answer_counts(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.get()
        house.delays = [10]
        async with house.client.request(Code.PUT, "/r", b"2"):
            await trio.sleep(1)
        house.says(b"2")
        assert await house.get() == b"2"


async def test_a_handle_that_reads_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.get()
        async with house.client.request(Code.GET, "/r") as handle:
            await handle.receive()
        await house.get()
        assert house.asked == 2


async def test_the_application_may_invalidate_and_clear(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1")
        response = await house.client.get("/r")
        assert response.source_endpoint is not None
        house.cache.invalidate(f"{response.source_endpoint.uri}/r?x")
        await house.get()
        assert (house.asked, house.requests[-1].options.etags) == (2, (b"1",))
        house.cache.clear()
        assert house.cache.statistics().responses == house.cache.statistics().octets == 0
        await house.get()
        assert (house.asked, house.requests[-1].options.etags) == (3, ())


# Several at a time


async def test_two_at_a_time_are_both_sent_and_the_later_question_has_the_newer_answer(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        numbers = iter((b"older", b"newer"))
        house.answer = lambda request: Response(Code.CONTENT, next(numbers))
        house.delays = [10, 1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_get_by_non, house)
            await trio.sleep(0.5)
            nursery.start_soon(_get_by_non, house)
        assert house.asked == 2
        assert await house.get() == b"newer"
        assert house.asked == 2


async def _get_by_non(house: House) -> None:
    await house.get(confirmable=False)


async def test_an_older_answer_is_not_stored_over_a_newer_one_that_must_not_be_stored(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        answers = iter((Response(Code.CONTENT, b"older"), Response(Code.CONTENT, b"newer", max_age=0)))
        house.answer = lambda request: next(answers)
        house.delays = [10, 1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_get_by_non, house)
            await trio.sleep(0.5)
            nursery.start_soon(_get_by_non, house)
        assert house.cache.statistics().responses == 0


async def test_what_was_asked_before_a_change_and_comes_after_it_is_not_stored(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        house.delays = [10]
        nursery.start_soon(_get_by_non, house)
        await trio.sleep(1)
        house.says(b"2")
        await house.client.put("/r", b"2", confirmable=False)
        await trio.sleep(20)
        assert await house.get() == b"2"
        assert house.asked == 3


async def test_a_request_that_is_cancelled_stores_nothing(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.delays = [10]
        with trio.move_on_after(5):
            await house.get()
        await trio.sleep(20)
        statistics = house.cache.statistics()
        assert (statistics.responses, statistics.misses) == (0, 1)
        assert not house.cache._asking


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_cancelled_anywhere_nothing_is_left_under_way(is_waiting: bool, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(bytes(3000), etag=b"1", max_age=0)

        async def ask() -> None:
            await house.get()
            await house.client.put("/r", b"2")

        async def check() -> None:
            assert not house.cache._asking

        assert await cancel_at_every_await(ask, check, is_waiting=is_waiting) >= 2


# Observations (RFC 7641)


@pytest.fixture
async def scene(coap_network: VirtualNetwork) -> AsyncIterator[Scene]:
    cache = ResponseCache()
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint, cache=cache) as client:
        with open_peer(coap_network) as peer:
            yield Scene(client, endpoint, peer, coap_network)


async def answer_once(scene: Scene, response: Response) -> Request:
    request = await scene.peer.receive_request()
    scene.peer.answer(request, response)
    return request


async def test_the_states_of_an_observation_answer_requests(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery, scene.observe():
        request = await scene.establish()
        await trio.sleep(1)
        assert (await scene.client.get(scene.peer.uri)).text == "1"
        scene.peer.notify(request, state(2, max_age=30), NON)
        await trio.sleep(10)
        response = await scene.client.get(scene.peer.uri)
        assert (response.text, response.options.max_age, response.options.observe) == ("2", 20, None)
        nursery.start_soon(scene.expect_deregistration, request.token)
    # The end of the observation does not make the state old.
    assert (await scene.client.get(scene.peer.uri)).text == "2"
    assert await scene.peer.hears_nothing(1)


async def test_a_state_of_an_observation_is_fresh_for_max_age(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery, scene.observe():
        request = await scene.establish(max_age=5)
        await trio.sleep(5.5)
        nursery.start_soon(answer_once, scene, Response(Code.CONTENT, b"new"))
        assert (await scene.client.get(scene.peer.uri)).text == "new"
        nursery.start_soon(scene.expect_deregistration, request.token)


async def test_an_older_notification_is_not_stored(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery, scene.observe():
        request = await scene.establish(2)
        scene.peer.notify(request, state(1), NON)
        await trio.sleep(1)
        assert (await scene.client.get(scene.peer.uri)).text == "2"
        nursery.start_soon(scene.expect_deregistration, request.token)


async def test_the_first_block_of_a_state_makes_what_is_stored_old(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery, scene.observe():
        request = await scene.establish()
        await trio.sleep(1)
        scene.peer.notify(request, state(2, "x" * 16, block2=Block(0, True, 0)), NON)
        await trio.sleep(1)
        nursery.start_soon(answer_once, scene, Response(Code.CONTENT, b"whole"))
        assert (await scene.client.get(scene.peer.uri)).text == "whole"
        nursery.start_soon(scene.expect_deregistration, request.token)


async def test_what_was_asked_before_a_notification_and_comes_after_it_is_not_stored(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery, scene.observe():
        request = await scene.establish(max_age=0)
        await trio.sleep(1)
        nursery.start_soon(scene.client.get, scene.peer.uri)
        asked = await scene.peer.receive_request()
        scene.peer.notify(request, state(2), NON)
        await trio.sleep(1)
        scene.peer.answer(asked, Response(Code.CONTENT, b"older"))
        await trio.sleep(1)
        assert (await scene.client.get(scene.peer.uri)).text == "2"
        nursery.start_soon(scene.expect_deregistration, request.token)


async def test_the_error_that_ends_an_observation_is_stored(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe():
        request = await scene.establish()
        scene.peer.notify(request, Response(Code.NOT_FOUND), NON)
        await trio.sleep(1)
        assert (await scene.client.get(scene.peer.uri)).code is Code.NOT_FOUND


async def test_the_body_of_an_observing_fetch_is_part_of_the_question(scene: Scene, autojump_clock: MockClock) -> None:
    observation = scene.client.observe(scene.peer.uri, b"what", code=Code.FETCH, content_format=60)
    async with trio.open_nursery() as nursery, observation:
        await scene.establish()
        await trio.sleep(1)
        response = await scene.client.fetch(scene.peer.uri, b"what", content_format=60)
        assert response.text == "1"
        nursery.start_soon(answer_once, scene, Response(Code.CONTENT, b"other"))
        assert (await scene.client.fetch(scene.peer.uri, b"else", content_format=60)).text == "other"
        nursery.start_soon(answer_once, scene, Response(Code.CONTENT))


async def test_an_observation_without_a_cache_works_as_before(scene: Scene, autojump_clock: MockClock) -> None:
    scene.client.cache = None
    async with trio.open_nursery() as nursery, scene.observe() as observation:
        request = await scene.establish()
        assert (await observation.receive()).text == "1"
        nursery.start_soon(scene.expect_deregistration, request.token)
