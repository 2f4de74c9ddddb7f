"""If-Match and If-None-Match (RFC 7252 section 5.10.8)."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_coap import (
    Code,
    Forbidden,
    NotAcceptable,
    NotFound,
    PreconditionFailed,
    Request,
    Response,
    Site,
    StreamedBody,
    check_conditions,
    open_client,
)
from trio_coap.server.steps import Later
from trio_coap.testing import open_pair

A, B, ANY = b"\x0a", b"\x0b", b""


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "etags", "is_met"),
    [
        ([], False, [None], True),
        ([], False, [A], True),
        ([A], False, [A], True),
        ([A], False, [B], False),
        ([A], False, [None], False),
        ([A], False, [b""], False),
        ([B, A], False, [A], True),
        ([A], False, [B, A], True),
        ([A], False, [None, A], True),
        ([A], False, [None, None], False),
        ([ANY], False, [A], True),
        ([ANY], False, [b""], True),
        ([ANY], False, [None], False),
        ([ANY, A], False, [B], True),
        ([], True, [None], True),
        ([], True, [None, None], True),
        ([], True, [A], False),
        ([], True, [b""], False),
        ([], True, [None, A], False),
        ([A], True, [A], False),
        ([A], True, [None], False),
    ],
)
def test_the_table(if_match: list[bytes], if_none_match: bool, etags: list[bytes | None], is_met: bool) -> None:
    request = Request(Code.PUT, if_match=if_match, if_none_match=if_none_match)
    if is_met:
        check_conditions(request, *etags)
    else:
        with pytest.raises(PreconditionFailed):
            check_conditions(request, *etags)


ETAGS = st.sampled_from([A, B, ANY])


@given(if_match=st.lists(ETAGS, max_size=3), etags=st.lists(st.none() | ETAGS, min_size=1, max_size=3))
def test_if_match_and_if_none_match_are_never_both_met(if_match: list[bytes], etags: list[bytes | None]) -> None:
    def is_met(**condition: Any) -> bool:
        try:
            check_conditions(Request(Code.PUT, **condition), *etags)
        except PreconditionFailed:
            return False
        return True

    exists = any(etag is not None for etag in etags)
    assert is_met(if_none_match=True) != exists
    if if_match:
        assert is_met(if_match=if_match) == any(
            etag is not None and wanted in (etag, ANY) for etag in etags for wanted in if_match
        )
        assert not is_met(if_match=if_match, if_none_match=True)


@pytest.mark.parametrize(
    ("condition", "etag", "diagnostic"),
    [
        ({"if_match": [A]}, B, "the resource has another ETag"),
        ({"if_match": [A]}, None, "the resource does not exist"),
        ({"if_none_match": True}, A, "the resource exists"),
    ],
)
def test_4_12_says_why(condition: Any, etag: bytes | None, diagnostic: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        check_conditions(Request(Code.PUT, **condition), etag)
    assert caught.value.diagnostic == diagnostic


# A resource whose state is known by an ETag.


class Lamp:
    """A resource that comes and goes."""

    def __init__(self, how: str) -> None:
        self.state: bytes | None = None
        self.puts = self.gets = 0
        self.site = Site()
        etag: Any = {"hash": True, "function": self.etag, "async function": self.etag_later, "async GET": True}[how]
        self.site.get("/r", etag=etag)(self.read_later if how == "async GET" else self.read)
        self.site.put("/r")(self.write)

    @property
    def current(self) -> bytes:
        response = self.site(Request(Code.GET, uri_path=["r"]))
        if isinstance(response, Later):
            try:
                response.send(None)
            except StopIteration as end:
                response = end.value
        assert isinstance(response, Response)
        assert response.options.etag is not None
        return response.options.etag

    def etag(self, request: Request) -> bytes | None:
        return self.state and self.state[:8]

    async def etag_later(self, request: Request) -> bytes | None:
        return self.state and self.state[:8]

    def read(self, request: Request) -> bytes:
        self.gets += 1
        if self.state is None:
            raise NotFound
        return self.state

    async def read_later(self, request: Request) -> bytes:
        return self.read(request)

    def write(self, request: Request) -> Response:
        self.puts += 1
        code = Code.CREATED if self.state is None else Code.CHANGED
        self.state = request.payload
        return Response(code)


@pytest.mark.parametrize("how", ["hash", "function", "async function", "async GET"])
async def test_a_condition_that_is_not_met_keeps_the_handler_from_running(how: str, autojump_clock: MockClock) -> None:
    lamp = Lamp(how)
    async with open_pair(lamp.site) as (client, _):
        put = partial(client.put, "/r")
        assert (await put(b"never", if_match=[A])).code == Code.PRECONDITION_FAILED
        assert (await put(b"never", if_match=[b""])).code == Code.PRECONDITION_FAILED
        assert lamp.puts == 0
        assert (await put(b"one", if_none_match=True)).code == Code.CREATED
        assert (await put(b"never", if_none_match=True)).code == Code.PRECONDITION_FAILED
        assert lamp.puts == 1
        old = lamp.current
        assert (await put(b"two", if_match=[A, old])).code == Code.CHANGED
        assert (await put(b"never", if_match=[old])).code == Code.PRECONDITION_FAILED
        assert (await put(b"three", if_match=[b""])).code == Code.CHANGED
        assert (lamp.puts, lamp.state) == (3, b"three")
        assert (await put(b"four")).code == Code.CHANGED


@pytest.mark.parametrize("code", [Code.GET, Code.POST, Code.DELETE, Code.FETCH, Code.PATCH, Code.IPATCH])
async def test_every_method_can_be_asked_for_on_a_condition(code: Code, autojump_clock: MockClock) -> None:
    lamp = Lamp("hash")
    lamp.state = b"on"
    if code != Code.GET:
        lamp.site.method(code, "/r")(lambda request: "done")
    async with open_pair(lamp.site) as (client, _):
        assert (await client.exchange(code, "/r", if_match=[A])).code == Code.PRECONDITION_FAILED
        assert (await client.exchange(code, "/r", if_match=[lamp.current])).code.is_success


async def test_the_conditions_of_a_long_body_are_checked_when_it_is_whole(autojump_clock: MockClock) -> None:
    lamp = Lamp("hash")
    async with open_pair(lamp.site) as (client, _):
        assert (await client.put("/r", bytes(5000), if_none_match=True)).code == Code.CREATED
        assert (await client.put("/r", bytes(4000), if_none_match=True)).code == Code.PRECONDITION_FAILED
        assert (await client.put("/r", bytes(3000), if_match=[lamp.current])).code == Code.CHANGED
        assert (await client.put("/r", bytes(2000), if_match=[A])).code == Code.PRECONDITION_FAILED
        assert lamp.state == bytes(3000)


async def test_a_condition_without_get_is_not_understood(autojump_clock: MockClock) -> None:
    site = Site()
    site.put("/hash", etag=True)(lambda request: None)
    site.put("/function", etag=lambda request: A)(lambda request: None)
    async with open_pair(site) as (client, _):
        assert (await client.put("/hash", b"", if_match=[A])).code == Code.BAD_OPTION
        assert (await client.put("/function", b"", if_match=[A])).code == Code.CHANGED


async def test_a_condition_that_is_too_long_is_a_bad_option(autojump_clock: MockClock) -> None:
    lamp = Lamp("hash")
    lamp.state = b"on"
    async with open_pair(lamp.site) as (client, _):
        options = Request(Code.PUT).options.from_wire(((1, bytes(9)),))
        assert (await client.put("/r", b"", options=options)).code == Code.BAD_OPTION
    assert lamp.puts == 0


async def test_a_method_that_is_not_there_is_4_05_on_any_condition(autojump_clock: MockClock) -> None:
    lamp = Lamp("hash")
    async with open_pair(lamp.site) as (client, _):
        assert (await client.post("/r", b"", if_match=[A])).code == Code.METHOD_NOT_ALLOWED


async def test_a_handler_that_understands_conditions_sees_them(autojump_clock: MockClock) -> None:
    lamp = Lamp("hash")
    lamp.state = b"on"

    @lamp.site.post("/r", understands=["If-Match"])
    def own(request: Request) -> str:
        return f"{request.options.if_match} {request.options.if_none_match}"

    async with open_pair(lamp.site) as (client, _):
        assert (await client.post("/r", b"", if_match=[A])).text == r"(b'\n',) False"
        assert (await client.post("/r", b"", if_match=[A], if_none_match=True)).code == Code.PRECONDITION_FAILED


async def test_a_handler_can_check_conditions_itself(autojump_clock: MockClock) -> None:
    site = Site()

    @site.put("/r", understands=["If-Match", "If-None-Match"])
    def write(request: Request) -> None:
        check_conditions(request, A)

    async with open_pair(site) as (client, _):
        assert (await client.put("/r", b"", if_match=[A])).code == Code.CHANGED
        response = await client.put("/r", b"", if_match=[B])
        assert (response.code, response.text) == (Code.PRECONDITION_FAILED, "the resource has another ETag")


# What is asked for the state.


def make_site(handler: Callable[..., Any], **declarations: Any) -> Site:
    site = Site()
    site.get("/r", etag=True, **declarations)(handler)
    site.put("/r")(lambda request: "done")
    return site


def put(site: Site, **options: Any) -> Any:
    return site(Request(Code.PUT, b"new", uri_path=["r"], **options))


def test_the_get_handler_is_asked_with_the_path_and_query_and_nothing_about_the_other_request() -> None:
    seen: list[tuple[Request, int]] = []
    site = Site()

    @site.get("/lamps/{number:int}", etag=True)
    def read(request: Request, number: int) -> str:
        seen.append((request, number))
        return "on"

    site.put("/lamps/{number:int}")(lambda request, number: f"{number}")
    request = Request(
        Code.PUT,
        b"new",
        uri_path=["lamps", "7"],
        uri_query=["a=b"],
        uri_host="h",
        if_match=[b""],
        content_format=0,
        accept=0,
        size1=3,
        no_response=2,
        request_tag=[b"t"],
        etag=[A],
    )
    answer: Any = site(request)
    assert answer.text == "7"
    ((asked, number),) = seen
    assert (asked.code, asked.payload, number) == (Code.GET, b"", 7)
    assert asked.options == Request(Code.GET, uri_path=["lamps", "7"], uri_query=["a=b"], uri_host="h").options


def test_the_etag_of_any_representation_will_do() -> None:
    site = make_site(lambda request: f"{request.options.accept}", produces=["text/plain", "json"])
    answers: list[Any] = [site(Request(Code.GET, uri_path=["r"], accept=accept)) for accept in (0, 50)]
    etags = [answer.options.etag for answer in answers]
    assert etags[0] != etags[1]
    for etag in etags:
        assert put(site, if_match=[etag]).text == "done"
    with pytest.raises(PreconditionFailed):
        put(site, if_match=[A])


def test_the_etag_that_a_handler_gives_counts() -> None:
    site = make_site(lambda request: Response(payload="on", etag=A))
    assert put(site, if_match=[A]).text == "done"


@pytest.mark.parametrize("answer", [NotFound(), NotAcceptable(), Response(Code.NOT_FOUND), (Code.NOT_FOUND, "gone")])
def test_4_04_says_that_there_is_nothing(answer: Any) -> None:
    def read(request: Request) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert put(make_site(read), if_none_match=True).text == "done"
    with pytest.raises(PreconditionFailed):
        put(make_site(read), if_match=[b""])


@pytest.mark.parametrize("is_raised", [True, False])
def test_a_state_that_may_not_be_seen_is_answered_as_for_get(is_raised: bool) -> None:
    error = Forbidden("not for you", max_age=3)

    def read(request: Request) -> Any:
        if is_raised:
            raise error
        return error.to_response()

    with pytest.raises(Exception, match=r"4\.03 Forbidden: not for you") as caught:
        put(make_site(read), if_match=[b""])
    response = caught.value.to_response()  # type: ignore[attr-defined]
    assert (response.code, response.options.max_age) == (Code.FORBIDDEN, 3)


async def test_a_not_found_that_a_handler_got_as_a_client_is_no_state(autojump_clock: MockClock) -> None:
    async with open_pair(Site()) as (_, elsewhere), open_client(endpoint=elsewhere.endpoint) as asking:

        async def read(request: Request) -> Response:
            response = await asking.get(f"{elsewhere.uri}/nothing")
            return response.raise_for_code()

        async with open_pair(make_site(read)) as (client, _):
            assert (await client.put("/r", b"", if_none_match=True)).code == Code.INTERNAL_SERVER_ERROR


@pytest.mark.parametrize("how", ["handler", "function"])
async def test_a_not_found_from_a_nursery_says_that_there_is_nothing(how: str, autojump_clock: MockClock) -> None:
    async def look(request: Request) -> bytes:
        async with trio.open_nursery():
            raise NotFound

    site = Site()
    site.get("/r", etag=True if how == "handler" else look)(look)
    site.put("/r")(lambda request: Response(Code.CREATED))
    async with open_pair(site) as (client, _):
        assert (await client.put("/r", if_none_match=True)).code == Code.CREATED
        assert (await client.put("/r", if_match=[b""])).code == Code.PRECONDITION_FAILED
        assert (await client.get("/r")).code == Code.NOT_FOUND


# Streams.


class Source(io.BytesIO):
    """A file that has no number."""


def test_a_stream_that_is_asked_for_its_state_is_closed_and_not_read() -> None:
    sources = [Source(b"x"), Source(b"x"), Source(b"x")]
    site = make_site(lambda request: sources[0])
    assert put(site, if_match=[b""]).text == "done"
    assert sources.pop(0).closed
    with pytest.raises(PreconditionFailed):
        put(site, if_match=[A])
    assert sources.pop(0).closed
    with pytest.raises(PreconditionFailed):
        put(site, if_none_match=True)
    assert sources.pop(0).closed


def test_the_etag_of_a_stream_counts() -> None:
    site = make_site(lambda request: StreamedBody(Source(b"x"), options=Response(etag=A).options))
    assert put(site, if_match=[A]).text == "done"


async def test_the_etag_of_a_file_counts(tmp_path: Path, autojump_clock: MockClock) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    site = make_site(lambda request: file.open("rb"))
    async with open_pair(site) as (client, _):
        etag = (await client.get("/r")).options.etag
        assert etag is not None
        assert (await client.put("/r", b"", if_match=[etag])).code == Code.CHANGED
        file.write_bytes(b"other")
        assert (await client.put("/r", b"", if_match=[etag])).code == Code.PRECONDITION_FAILED


async def test_an_asynchronous_stream_is_closed_too(autojump_clock: MockClock) -> None:
    closed = []

    async def read(request: Request) -> AsyncIterator[bytes]:
        try:
            yield b"x"
        finally:
            closed.append(request)

    started = []

    async def start(request: Request) -> AsyncIterator[bytes]:
        stream = read(request)
        started.append(await anext(stream))
        return stream

    async with open_pair(make_site(start)) as (client, _):
        assert (await client.put("/r", b"", if_match=[b""])).code == Code.CHANGED
    assert len(started) == len(closed) == 1


def test_a_generator_that_was_never_started_is_closed() -> None:
    made = []

    def read(request: Request) -> Iterator[bytes]:
        yield b"x"

    def make(request: Request) -> Iterator[bytes]:
        made.append(read(request))
        return made[-1]

    assert put(make_site(make), if_match=[b""]).text == "done"
    assert list(made[0]) == []


# In one stretch.


def test_with_plain_functions_check_and_handler_are_one_call() -> None:
    site = make_site(lambda request: "on")
    assert isinstance(put(site, if_match=[b""]), Response)


class Writer:
    """A handler that is an object."""

    def __init__(self, lamp: Lamp) -> None:
        self.lamp = lamp

    async def __call__(self, request: Request) -> None:
        self.lamp.state = request.payload
        await trio.sleep(1)


@pytest.mark.parametrize("how", ["hash", "function"])
@pytest.mark.parametrize("kind", ["function", "partial", "object", "partial of an object", "decorated"])
async def test_of_two_requests_that_wait_for_their_handlers_one_wins(
    how: str, kind: str, autojump_clock: MockClock
) -> None:
    """The lost update of section 5.10.8.1: both are there before the handler of either runs."""
    lamp = Lamp(how)
    lamp.state = b"old"
    writer = Writer(lamp)

    async def write(request: Request) -> None:
        await writer(request)

    @wraps(write)
    def decorated(request: Request) -> Any:
        return write(request)

    handlers: dict[str, Callable[..., Any]] = {
        "function": write,
        "partial": partial(write),
        "object": writer,
        "partial of an object": partial(writer),
        "decorated": decorated,
    }
    lamp.site.post("/r")(handlers[kind])

    async def run(waiting: Any) -> None:
        answers.append(await waiting)

    answers: list[Response] = []
    current = lamp.current
    requests = [Request(Code.POST, payload, uri_path=["r"], if_match=[current]) for payload in (b"one", b"two")]
    first, second = [lamp.site(request) for request in requests]
    await run(first)
    with pytest.raises(PreconditionFailed):
        await run(second)
    assert lamp.state == b"one"
    assert [answer.code for answer in answers] == [Code.CHANGED]


async def test_what_nobody_waits_for_is_closed(autojump_clock: MockClock) -> None:
    lamp = Lamp("async GET")
    lamp.state = b"on"

    @lamp.site.post("/r")
    async def write(request: Request) -> None:
        raise AssertionError

    for code in (Code.PUT, Code.POST):
        waiting = lamp.site(Request(code, uri_path=["r"], if_match=[b""]))
        assert isinstance(waiting, Later)
        waiting.close()  # Without a warning of a coroutine that was never awaited.
