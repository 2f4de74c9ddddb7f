"""The client's cache (RFC 7252 section 5.6): freshness, validation, invalidation, and its limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_coap import (
    Block,
    BodyTooLarge,
    Client,
    Code,
    LocalProtocolError,
    Progress,
    Request,
    Response,
    ResponseCache,
    ServiceUnavailable,
    TransmissionParameters,
    TransmissionTimeout,
)
from trio_coap.client.arguments import TransferArguments
from trio_coap.client.cache import MAX_VERSIONS
from trio_coap.testing import DROP, open_pair

SAFE = [Code.GET, Code.FETCH]
CHANGING = [Code.PUT, Code.POST, Code.DELETE, Code.PATCH, Code.IPATCH]
QUICK = TransmissionParameters(ack_timeout=1, max_retransmit=1)


@attrs.define
class House:
    """A server that answers as it is told to, and keeps what it was asked."""

    answer: Callable[[Request], Response] = lambda request: Response(Code.CONTENT, b"1")
    requests: list[Request] = attrs.Factory(list)
    delays: list[float] = attrs.Factory(list)
    """How long the next requests take, in seconds; those behind them take no time."""
    client: Client = attrs.field(init=False)
    network: object = None

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self.answer(request)
        if self.delays:
            await trio.sleep(self.delays.pop(0))
        return answer

    @property
    def cache(self) -> ResponseCache:
        assert self.client.cache is not None
        return self.client.cache

    @property
    def asked(self) -> int:
        return len(self.requests)

    def says(self, payload: bytes = b"1", code: Code = Code.CONTENT, **options) -> None:
        """Answer with this from now on, or with 2.03 if the request names its ETag."""
        response = Response(code, payload, **options)

        def answer(request: Request) -> Response:
            if request.code not in SAFE:
                return Response(Code.CHANGED)
            if response.options.etag is not None and response.options.etag in request.options.etags:
                return Response(Code.VALID, **options)
            return response.replace()

        self.answer = answer

    async def get(self, uri: str = "/r", **arguments) -> bytes:
        return (await self.client.get(uri, **arguments)).payload


@asynccontextmanager
async def open_house(cache: ResponseCache | None = None) -> AsyncIterator[House]:
    house = House()
    async with open_pair(house) as (client, server):
        client.cache = cache or ResponseCache()
        house.client = client
        house.network = server.endpoint.network  # type: ignore[attr-defined]
        yield house


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
        for arguments in ({}, {"accept": 50}, {"uri_query": ["x"]}, {"if_match": [b"e"]}):
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
                valid.options += type(valid.options)([(safe, b"new"), (unsafe, b"new")])
                return valid
            content = Response(Code.CONTENT, b"1", etag=b"e", content_format=60, max_age=5)
            content.options += type(content.options)([(safe, b"old"), (safe, b"older"), (unsafe, b"old")])
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


async def test_what_is_counted_is_what_is_stored(autojump_clock: MockClock) -> None:
    async with open_house(ResponseCache(max_responses=3)) as house:
        for number in range(40):
            house.says(bytes(number * 7 % 30), etag=b"%d" % (number % 6) if number % 3 else None, max_age=number % 2)
            await house.get(f"/{number % 5}")
            if number % 7 == 0:
                await house.client.put(f"/{number % 5}")
            kept = [one for stored in house.cache._stored.values() for one in stored]
            statistics = house.cache.statistics()
            assert (statistics.responses, statistics.octets) == (len(kept), sum(one.octets for one in kept))
            assert all(house.cache._stored.values())


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
