"""The client's cache (RFC 7252 section 5.6): freshness, the key, what is stored, validation, and limits."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.client.caching import House, open_house
from trio_coap import (
    Block,
    BodyTooLarge,
    Code,
    LocalProtocolError,
    Options,
    Progress,
    Request,
    Response,
    ResponseCache,
    ServiceUnavailable,
    TransmissionParameters,
    TransmissionTimeout,
)
from trio_coap.client.arguments import TransferArguments
from trio_coap.client.responses import MAX_VERSIONS
from trio_coap.testing import DROP

SAFE = [Code.GET, Code.FETCH]
CHANGING = [Code.PUT, Code.POST, Code.DELETE, Code.PATCH, Code.IPATCH]
QUICK = TransmissionParameters(ack_timeout=1, max_retransmit=1)


# Freshness (section 5.6.1)


@pytest.mark.parametrize("code", SAFE, ids=str)
async def test_a_fresh_response_is_returned_and_nothing_is_sent(code: Code, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        first = await house.client.exchange(code, "/r", b"")
        second = await house.client.exchange(code, "/r", b"")
        assert house.asked == 1
        assert first.payload == second.payload == b"1"
        statistics = house.cache.statistics()
        assert (statistics.hits, statistics.misses, statistics.responses) == (1, 1, 1)


@pytest.mark.parametrize(("max_age", "seconds"), [(None, 60), (5, 5), (100_000, 100_000)])
async def test_a_response_is_fresh_for_max_age(max_age: int | None, seconds: float, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(max_age=max_age)
        await house.get()
        await trio.sleep(seconds)
        await house.get()
        assert house.asked == 1
        await trio.sleep(0.1)
        await house.get()
        assert house.asked == 2


async def test_max_age_0_prevents_caching(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(max_age=0)
        await house.get()
        assert house.cache.statistics().responses == 0
        await house.get()
        assert house.asked == 2


async def test_max_age_tells_how_long_a_response_from_the_cache_is_still_fresh(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(max_age=30, content_format=60, etag=b"e")
        first = await house.client.get("/r")
        await trio.sleep(10.5)
        second = await house.client.get("/r")
        assert second.options == first.options.replace(max_age=19)
        assert (second.code, second.message_id) == (Code.CONTENT, None)


async def test_what_the_caller_does_to_a_response_does_not_get_into_the_cache(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        for _ in range(3):
            response = await house.client.get("/r")
            assert response.payload == b"1"
            response.payload = b"changed"


async def test_a_hit_is_a_checkpoint(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.get()
        with trio.CancelScope() as scope:
            scope.cancel()
            await house.get()
        assert scope.cancelled_caught


async def test_a_body_in_blocks_is_stored_whole(autojump_clock: MockClock) -> None:
    body = bytes(5000)
    async with open_house() as house:
        house.says(body, etag=b"e")
        assert await house.get() == body
        asked = house.asked
        progress = Progress()
        response = await house.client.get("/r", progress=progress)
        assert (response.payload, response.options.block2, response.options.size2) == (body, None, None)
        assert (progress.received, progress.to_receive) == (5000, 5000)
        assert house.asked == asked


async def test_a_body_that_is_too_large_for_this_caller_is_an_error_all_the_same(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(bytes(5000), etag=b"e")
        await house.get()
        with pytest.raises(BodyTooLarge):
            await house.get(max_body=4999)


# The key


async def test_only_the_same_question_gets_the_same_answer(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        for arguments in ({}, {"accept": 50}, {"uri_query": ["x"]}, {"uri_host": "virtual.example"}):
            await house.get(**arguments)
        await house.get("/s")
        assert house.asked == 5


async def test_the_body_of_a_fetch_is_part_of_the_question(autojump_clock: MockClock) -> None:
    """RFC 8132 section 2: the payload, and the format that it has."""
    async with open_house() as house:
        house.answer = lambda request: Response(Code.CONTENT, b"for " + request.payload)
        for payload in (b"a", b"b", b"a", b"b"):
            response = await house.client.fetch("/r", payload, content_format=60)
            assert response.payload == b"for " + payload
        assert house.asked == 2
        await house.client.fetch("/r", b"a", content_format=50)
        await house.client.get("/r")
        assert house.asked == 4


@pytest.mark.parametrize("given", [{"block2": Block(0, False, 6)}, {"observe": 1}], ids=repr)
async def test_blocks_and_observations_by_hand_go_past_the_cache(given: dict, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.get(**given)
        assert house.cache.statistics().responses == 0
        await house.get()
        await house.get(**given)
        assert house.asked == 3


async def test_streams_and_handles_go_past_the_cache(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.get()
        async with house.client.stream(Code.GET, "/r") as streamed:
            assert b"".join([chunk async for chunk in streamed.stream()]) == b"1"
        async with house.client.request(Code.GET, "/r") as handle:
            await handle.receive()
        assert house.asked == 3


# What is stored (section 5.9)


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.of(4, 30), Code.INTERNAL_SERVER_ERROR, Code.of(5, 31)], ids=str)
async def test_errors_are_stored(code: Code, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"why", code)
        for _ in range(2):
            response = await house.client.get("/r")
            assert (response.code, response.text) == (code, "why")
        assert house.asked == 1


async def test_an_error_is_stored_for_max_age(autojump_clock: MockClock) -> None:
    def answer(request: Request) -> Response:
        raise ServiceUnavailable("busy", max_age=5)

    async with open_house() as house:
        house.answer = answer
        await house.get()
        await trio.sleep(5)
        await house.get()
        assert house.asked == 1
        await trio.sleep(1)
        await house.get()
        assert house.asked == 2


@pytest.mark.parametrize("code", [Code.CREATED, Code.DELETED, Code.CHANGED, Code.of(2, 30)], ids=str)
async def test_other_successes_are_not_stored(code: Code, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", code)
        await house.get()
        await house.get()
        assert house.asked == 2


@pytest.mark.parametrize(
    "response",
    [Response(Code.UNAUTHORIZED, echo=b"once"), Response(Code.REQUEST_ENTITY_INCOMPLETE)],
    ids=["a challenge", "blocks that are missing"],
)
async def test_what_is_about_one_request_only_is_not_stored(response: Response, autojump_clock: MockClock) -> None:
    async def send(code: Code, uri: str, payload: bytes | str, arguments: TransferArguments) -> Response:
        await trio.lowlevel.checkpoint()
        return response

    cache = ResponseCache()
    assert await cache.exchange(send, None, Code.GET, "coap://[::1]/r", b"", {}) is response
    assert cache.statistics().responses == 0


@pytest.mark.parametrize("code", CHANGING, ids=str)
async def test_responses_to_other_methods_are_not_stored(code: Code, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.answer = lambda request: Response(Code.NOT_FOUND)
        for _ in range(2):
            await house.client.exchange(code, "/r", b"")
        assert house.asked == 2


# Validation (section 5.6.2)


@pytest.mark.parametrize("code", SAFE, ids=str)
async def test_a_response_that_is_not_fresh_is_validated(code: Code, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"long body", etag=b"e", max_age=5)
        await house.client.exchange(code, "/r", b"")
        await trio.sleep(6)
        response = await house.client.exchange(code, "/r", b"")
        assert house.requests[-1].options.etags == (b"e",)
        assert (response.code, response.payload) == (Code.CONTENT, b"long body")
        await house.client.exchange(code, "/r", b"")
        assert house.asked == 2
        statistics = house.cache.statistics()
        assert (statistics.misses, statistics.validations, statistics.hits) == (1, 1, 1)


async def test_with_max_age_0_an_etag_is_still_good_for_validation(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"long body", etag=b"e", max_age=0)
        for _ in range(3):
            assert await house.get() == b"long body"
        assert house.asked == 3
        assert house.cache.statistics().validations == 2


async def test_a_validation_updates_the_stored_options(autojump_clock: MockClock) -> None:
    """Section 5.9.1.3: Max-Age, also where it is the default, and what is Safe-to-Forward."""
    safe, unsafe = 0xFF00, 0xFF02
    async with open_house() as house:

        def answer(request: Request) -> Response:
            if request.options.etags:
                valid = Response(Code.VALID, etag=b"e")
                valid.options += Options([(safe, b"new"), (unsafe, b"new")])
                return valid
            content = Response(Code.CONTENT, b"1", etag=b"e", content_format=60, max_age=5)
            content.options += Options([(safe, b"old"), (safe, b"older"), (unsafe, b"old")])
            return content

        house.answer = answer
        await house.get()
        await trio.sleep(6)
        for _ in range(2):
            options = (await house.client.get("/r")).options
            assert (options.content_format, options.etags) == (60, (b"e",))
            assert (options.raw(safe), options.raw(unsafe)) == ((b"new",), (b"old",))
            assert options.max_age in (None, 60)
        assert house.asked == 2


async def test_a_2_03_whose_options_are_malformed_is_no_failure(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1", max_age=0)
        await house.get()
        valid = Response(Code.VALID, etag=b"1")
        valid.options += Options.from_wire(((12, b"too long"), (14, b"too long"), (65534, b"")))
        house.answer = lambda request: valid
        response = await house.client.get("/r")
        assert (response.code, response.payload, response.options.max_age) == (Code.CONTENT, b"1", None)
        await trio.sleep(60)
        await house.get()
        assert house.asked == 2


async def test_any_other_response_replaces_what_was_to_be_validated(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1", max_age=5)
        await house.get()
        await trio.sleep(6)
        house.says(b"2", max_age=5)
        assert [await house.get(), await house.get()] == [b"2", b"2"]
        assert house.asked == 2


async def test_an_error_does_not_leave_the_old_response_fresh(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1", max_age=5)
        await house.get()
        await trio.sleep(6)
        house.says(b"", Code.NOT_FOUND, max_age=5)
        assert (await house.client.get("/r")).code is Code.NOT_FOUND
        assert (await house.client.get("/r")).code is Code.NOT_FOUND
        assert house.asked == 2


async def test_all_versions_that_are_stored_are_named(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        versions = [b"%d" % number for number in range(MAX_VERSIONS + 1)]
        for version in versions:
            house.says(version, etag=version, max_age=0)
            await house.get()
        house.says(versions[2], etag=versions[2], max_age=5)
        assert await house.get() == versions[2]
        assert house.requests[-1].options.etags == tuple(reversed(versions[1:]))
        assert house.cache.statistics().responses == MAX_VERSIONS
        assert await house.get() == versions[2]
        assert house.cache.statistics().hits == 1


async def test_a_2_03_that_names_nothing_of_ours_is_asked_again(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1", max_age=0)
        await house.get()
        house.answer = lambda request: (
            Response(Code.VALID, etag=b"x") if request.options.etags else Response(Code.CONTENT, b"2")
        )
        assert await house.get() == b"2"
        assert [request.options.etags for request in house.requests] == [(), (b"1",), ()]


async def test_a_2_03_without_an_etag_means_the_only_one_that_was_named(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1", max_age=0)
        await house.get()
        house.answer = lambda request: Response(Code.VALID)
        assert await house.get() == b"1"
        assert house.asked == 2


async def test_a_2_03_without_an_etag_to_the_callers_own_says_nothing_of_ours(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1", max_age=5)
        await house.get()
        await trio.sleep(6)
        house.answer = lambda request: Response(Code.VALID)
        await house.client.get("/r", etag=b"0")
        house.says(b"2", etag=b"2")
        assert await house.get() == b"2"


async def test_a_2_03_to_who_named_nothing_is_returned_as_it_is(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.answer = lambda request: Response(Code.VALID, etag=b"x")
        assert (await house.client.get("/r")).code is Code.VALID
        assert house.asked == 1


async def test_what_is_forgotten_while_it_is_validated_is_returned_all_the_same(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        house.says(b"1", etag=b"1", max_age=0)
        await house.get()
        house.delays = [5]
        nursery.start_soon(_expect, house, b"1")
        await trio.sleep(1)
        house.cache.clear()


async def _expect(house: House, payload: bytes) -> None:
    assert await house.get() == payload


async def test_etags_of_the_callers_own_go_past_the_cache_but_what_comes_is_stored(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1", max_age=5)
        await house.get()
        assert (await house.client.get("/r", etag=b"0")).payload == b"1"
        assert (await house.client.get("/r", etag=b"1")).code is Code.VALID
        assert house.requests[-1].options.etags == (b"1",)
        assert house.asked == 3
        await trio.sleep(4)
        await house.client.get("/r", etag=b"1")
        await trio.sleep(4)
        await house.get()
        assert house.asked == 4


async def test_a_validation_that_nobody_answers_is_an_error(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.says(b"1", etag=b"1", max_age=0)
        await house.get()
        house.network.add_filter(lambda datagram: DROP)  # type: ignore[attr-defined]
        with pytest.raises(TransmissionTimeout):
            await house.get(parameters=QUICK)
        assert house.cache.statistics().misses == 2


# Limits


async def test_the_resource_that_was_not_asked_for_the_longest_gives_way(autojump_clock: MockClock) -> None:
    async with open_house(ResponseCache(max_responses=2)) as house:
        await house.get("/a")
        await house.get("/b")
        await house.get("/a")
        await house.get("/c")
        assert house.asked == 3
        await house.get("/a")
        assert house.asked == 3
        await house.get("/b")
        assert house.asked == 4
        assert house.cache.statistics().turned_away == {"max_responses": 2}


async def test_octets_are_bounded(autojump_clock: MockClock) -> None:
    async with open_house(ResponseCache(max_octets=2500)) as house:
        house.says(bytes(1000))
        for path in "abc":
            await house.get(f"/{path}")
        statistics = house.cache.statistics()
        assert (statistics.responses, statistics.octets) == (2, 2000)
        assert statistics.turned_away == {"max_octets": 1}


async def test_what_is_larger_than_the_cache_is_not_stored_and_drives_nothing_out(autojump_clock: MockClock) -> None:
    async with open_house(ResponseCache(max_octets=2500)) as house:
        await house.get("/a")
        house.says(bytes(2501))
        await house.get("/b")
        assert house.cache.statistics().turned_away == {"max_octets": 1}
        assert await house.get("/a") == b"1"


async def test_the_payload_of_a_fetch_counts(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.client.fetch("/r", bytes(100), content_format=60)
        assert house.cache.statistics().octets == 100 + 1 + 1


async def test_old_versions_give_way_before_new_ones(autojump_clock: MockClock) -> None:
    async with open_house(ResponseCache(max_responses=2)) as house:
        for version in (b"1", b"2", b"3"):
            house.says(version, etag=version, max_age=0)
            await house.get()
        await house.get()
        assert house.requests[-1].options.etags == (b"3", b"2")


async def test_a_cache_without_room_stores_nothing(autojump_clock: MockClock) -> None:
    async with open_house(ResponseCache(max_responses=0)) as house:
        await house.get()
        await house.get()
        assert house.asked == 2
        assert house.cache.statistics().turned_away == {"max_responses": 2}


@pytest.mark.parametrize("limits", [{"max_responses": -1}, {"max_octets": -1}])
def test_a_limit_is_not_negative(limits: dict) -> None:
    with pytest.raises(LocalProtocolError):
        ResponseCache(**limits)


async def test_without_a_cache_everything_is_sent(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.client.cache = None
        await house.get()
        await house.get()
        assert house.asked == 2
