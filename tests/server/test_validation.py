"""2.03 Valid: what the client has already (RFC 7252 sections 5.9.1.3 and 5.10.6.2)."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from tests.server.observing import Sensor, open_stage
from tests.server.stage import make_request
from tests.server.stage import open_stage as open_plain_stage
from trio_coap import Block, Code, Options, Request, Response, Site, StreamedBody, block_policy
from trio_coap.testing import VirtualNetwork, open_pair

TAG, OTHER = b"\x01", b"\x02"


@pytest.mark.parametrize(
    ("response", "asked", "is_valid"),
    [
        (Response(payload=b"x", etag=TAG), [TAG], True),
        (Response(payload=b"x", etag=TAG), [OTHER, TAG], True),
        (Response(payload=b"x", etag=TAG), [OTHER], False),
        (Response(payload=b"x", etag=TAG), [], False),
        (Response(payload=b"", etag=TAG), [TAG], True),
        (Response(payload=b"x"), [TAG], False),
        (Response(Code.CHANGED, etag=TAG), [TAG], False),
        (Response(Code.CREATED, etag=TAG), [TAG], False),
        (Response(Code.NOT_FOUND, etag=TAG), [TAG], False),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_2_05_that_the_client_has_becomes_a_2_03(
    response: Response, asked: list[bytes], is_valid: bool, is_async: bool, autojump_clock: MockClock
) -> None:
    async def later(request: Request) -> Response:
        return response

    async with open_pair(later if is_async else lambda request: response) as (client, _):
        answer = await client.get("/r", etag=asked)
    if is_valid:
        assert (answer.code, answer.payload, answer.options) == (Code.VALID, b"", Options(etag=TAG))
    else:
        assert (answer.code, answer.payload) == (response.code, response.payload)


async def test_a_2_03_has_the_max_age_and_what_else_is_not_about_the_body(autojump_clock: MockClock) -> None:
    options = Options([(65000, b"own")], etag=TAG, max_age=7, content_format=50, size2=3)
    async with open_pair(lambda request: Response(payload=b"x", options=options)) as (client, _):
        answer = await client.get("/r", etag=TAG)
    assert answer.options == Options([(65000, b"own")], etag=TAG, max_age=7)


async def test_a_2_03_meets_every_accept(autojump_clock: MockClock) -> None:
    async with open_pair(lambda request: Response(payload=b"x", etag=TAG, content_format=50)) as (client, _):
        assert (await client.get("/r", etag=TAG, accept=50)).code == Code.VALID


async def test_fetch_is_validated_too(autojump_clock: MockClock) -> None:
    site = Site()
    site.fetch("/r", etag=True)(lambda request: request.payload)
    async with open_pair(site) as (client, _):
        etag = (await client.fetch("/r", b"a", content_format=0)).options.etag
        assert (await client.fetch("/r", b"a", content_format=0, etag=etag)).code == Code.VALID
        assert (await client.fetch("/r", b"b", content_format=0, etag=etag)).code == Code.CONTENT


# Bodies in blocks, and streams.


async def test_the_same_octets_in_another_format_are_another_representation(autojump_clock: MockClock) -> None:
    site = Site()
    site.get("/r", produces=["text/plain", "json"])(lambda request: "1" * 2000)
    async with open_pair(site) as (client, _):
        etag = (await client.get("/r", accept=0)).options.etag
        assert (await client.get("/r", accept=50, etag=etag)).code == Code.CONTENT
        assert (await client.get("/r", accept=0, etag=etag)).code == Code.VALID


@pytest.mark.parametrize("size", [16, 64, 1024])
async def test_the_etag_of_a_long_body_is_known_again_whatever_the_block_size(
    size: int, autojump_clock: MockClock
) -> None:
    async with open_pair(lambda request: bytes(500)) as (client, _):
        etag = (await client.get("/r", block_size=64)).options.etag
        assert etag is not None
        answer = await client.get("/r", etag=etag, block_size=size)
        assert (answer.code, answer.payload) == (Code.VALID, b"")
        assert (await client.get("/r", etag=OTHER, block_size=size)).payload == bytes(500)


async def test_a_later_block_is_not_validated(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    body = bytes(range(100))
    async with open_plain_stage(lambda request: body, coap_network) as stage:
        first = await stage.ask(make_request(message_id=1, block2=Block(0, False, 2)))
        etag = first.options.etag
        remembered = await stage.ask(make_request(message_id=2, block2=Block(1, False, 2), etag=etag))
        assert (remembered.code, remembered.payload) == (Code.CONTENT, body[64:])
        again = await stage.ask(make_request(message_id=3, block2=Block(0, False, 2), etag=etag))
        assert (again.code, again.options.block2) == (Code.VALID, None)


async def test_a_later_block_that_is_computed_again_is_not_validated(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    site = Site()
    site.get("/hash", etag=True)(lambda request: bytes(100))
    site.get("/function", etag=lambda request: TAG)(lambda request: bytes(100))
    async with open_plain_stage(site, coap_network) as stage:
        for message_id, path in enumerate(("hash", "function")):
            etag = (await stage.ask(make_request(path, message_id=10 + message_id))).options.etag
            request = make_request(path, message_id=message_id, block2=Block(1, False, 2), etag=etag)
            answer = await stage.ask(request)
            assert (answer.code, answer.payload, answer.options.etag) == (Code.CONTENT, bytes(36), etag)


async def test_a_block_that_was_asked_for_with_an_etag_is_remembered_for_who_leaves_it_out(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    runs = []

    def run(request: Request) -> bytes:
        runs.append(request)
        return bytes(100)

    async with open_plain_stage(run, coap_network) as stage:
        await stage.ask(make_request(message_id=1, block2=Block(0, False, 2), etag=OTHER))
        await stage.ask(make_request(message_id=2, block2=Block(1, False, 2)))
    assert len(runs) == 1


class File(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize("size", [10, 5000])
async def test_a_stream_that_the_client_has_is_closed_unread(size: int, autojump_clock: MockClock) -> None:
    files: list[File] = []

    def open_file(request: Request) -> StreamedBody:
        files.append(File(bytes(size)))
        return StreamedBody(files[-1], options=Options(etag=TAG, content_format=42, max_age=5))

    async with open_pair(open_file) as (client, server):
        assert (await client.get("/r")).payload == bytes(size)
        remembered = len(server.blockwise.representations)
        answer = await client.get("/r", etag=TAG)
        assert (answer.code, answer.payload, answer.options) == (Code.VALID, b"", Options(etag=TAG, max_age=5))
        assert (files[1].reads, files[1].closed) == (0, True)
        assert len(server.blockwise.representations) == remembered


async def test_an_open_file_is_known_by_its_etag(tmp_path: Path, autojump_clock: MockClock) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3000))
    async with open_pair(lambda request: path.open("rb")) as (client, _):
        etag = (await client.get("/r")).options.etag
        assert (await client.get("/r", etag=etag)).code == Code.VALID
        path.write_bytes(bytes(3001))
        assert len((await client.get("/r", etag=etag)).payload) == 3001


# ETags that the site makes.


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_representation_gets_an_etag_of_its_own(is_async: bool, autojump_clock: MockClock) -> None:
    state = [b"one"]

    def read(request: Request) -> bytes:
        return state[0]

    async def read_later(request: Request) -> bytes:
        return state[0]

    site = Site()
    site.get("/r", produces=["text/plain", "json"], etag=True)(read_later if is_async else read)
    async with open_pair(site) as (client, _):
        one = (await client.get("/r")).options.etag
        assert one is not None
        assert len(one) == 8
        assert (await client.get("/r", accept=50)).options.etag != one
        assert (await client.get("/r", etag=one)).code == Code.VALID
        assert (await client.get("/r", etag=one, accept=50)).code == Code.CONTENT
        state[0] = b"two"
        two = (await client.get("/r", etag=one)).options.etag
        assert two != one
        state[0] = b"one"
        assert (await client.get("/r", etag=[two or b"", one])).options.etag == one


def stream(request: Request) -> Iterator[bytes]:
    yield b"x"


@pytest.mark.parametrize(
    "result",
    [
        Response(payload=b"x", etag=TAG),
        StreamedBody(iter([b"x"]), options=Options(etag=TAG)),
    ],
)
@pytest.mark.parametrize("etag", [True, lambda request: OTHER], ids=["hash", "function"])
async def test_the_etag_that_the_handler_gives_goes_before(result: Any, etag: Any, autojump_clock: MockClock) -> None:
    site = Site()
    site.get("/r", etag=etag)(lambda request: result)
    async with open_pair(site) as (client, _):
        assert (await client.get("/r")).options.etags == (TAG,)


@pytest.mark.parametrize("result", [Response(Code.NOT_FOUND), Response(Code.CHANGED, b"x"), (Code.FORBIDDEN, "no")])
def test_what_is_no_representation_gets_no_etag(result: Any) -> None:
    for etag in (True, lambda request: TAG):
        site = Site()
        site.get("/r", etag=etag)(lambda request: result)
        answer: Any = site(Request(Code.GET, uri_path=["r"]))
        assert answer.options.etag is None


def test_other_methods_give_no_etag() -> None:
    site = Site()
    site.get("/r", etag=True)(lambda request: "x")
    site.post("/r")(lambda request: (Code.CONTENT, "x"))
    answer: Any = site(Request(Code.POST, uri_path=["r"]))
    assert answer.options.etag is None


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_gives_the_etag_and_the_handler_need_not_run(
    is_async: bool, autojump_clock: MockClock
) -> None:
    versions: dict[int, bytes] = {1: b"v1"}
    runs = []

    def find(request: Request, number: int) -> bytes | None:
        return versions.get(number)

    async def find_later(request: Request, number: int) -> bytes | None:
        return versions.get(number)

    site = Site()

    @site.get("/lamps/{number:int}", etag=find_later if is_async else find)
    def read(request: Request, number: int) -> str:
        runs.append(number)
        return "on"

    async with open_pair(site) as (client, _):
        assert (await client.get("/lamps/1")).options.etag == b"v1"
        answer = await client.get("/lamps/1", etag=b"v1")
        assert (answer.code, answer.options) == (Code.VALID, Options(etag=b"v1"))
        assert runs == [1]
        assert (await client.get("/lamps/2", etag=b"v1")).options.etag is None
        versions[1] = b"v2"
        assert (await client.get("/lamps/1", etag=b"v1")).options.etag == b"v2"


async def test_a_function_gives_a_stream_its_etag(autojump_clock: MockClock) -> None:
    async def later(request: Request) -> AsyncIterator[bytes]:
        yield bytes(3000)

    site = Site()
    site.get("/plain", etag=lambda request: TAG)(stream)
    site.get("/later", etag=lambda request: TAG)(later)
    async with open_pair(site) as (client, _):
        assert (await client.get("/plain")).options.etag == TAG
        response = await client.get("/later")
        assert (response.options.etag, len(response.payload)) == (TAG, 3000)


async def test_the_function_can_say_that_there_is_no_etag(autojump_clock: MockClock) -> None:
    site = Site()
    site.get("/r", etag=lambda request: b"")(lambda request: "on")
    site.put("/r")(lambda request: None)
    async with open_pair(site) as (client, _):
        answer = await client.get("/r")
        assert (answer.code, answer.options.etag) == (Code.CONTENT, None)
        assert (await client.put("/r", if_match=[b""])).code == Code.CHANGED
        assert (await client.put("/r", if_none_match=True)).code == Code.PRECONDITION_FAILED


async def test_the_function_is_asked_about_the_format_that_was_picked(autojump_clock: MockClock) -> None:
    site = Site()
    site.get("/r", produces=["text/plain", "json"], etag=lambda request: b"%d" % (request.options.accept or 0))(
        lambda request: "1"
    )
    async with open_pair(site) as (client, _):
        assert (await client.get("/r")).options.etag == b"0"
        assert (await client.get("/r", accept=50)).options.etag == b"50"
        assert (await client.get("/r", accept=50, etag=b"0")).code == Code.CONTENT


async def test_blocks_that_a_handler_makes_itself_get_no_hash(autojump_clock: MockClock) -> None:
    site = Site()
    site.get("/r", etag=True)(lambda request: Response(payload=bytes(16), block2=Block(0, True, 0)))
    async with open_pair(site) as (client, _), client.request(Code.GET, "/r") as handle:
        assert (await handle.receive()).options.etag is None


async def test_a_handler_that_sees_blocks_is_asked_for_the_later_ones(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    site = Site()

    @site.get("/r", etag=lambda request: TAG)
    @block_policy(sees_blocks=True)
    def read(request: Request) -> Response:
        return Response(payload=b"x", block2=request.options.block2)

    async with open_plain_stage(site, coap_network) as stage:
        for number, code in enumerate((Code.VALID, Code.CONTENT)):
            request = make_request(message_id=number, block2=Block(number, False, 0), etag=TAG)
            assert (await stage.ask(request)).code == code


# Notifications.


async def test_a_notification_may_be_a_2_03(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    sensor = Sensor()
    sensor.resource.declare(etag=True)
    async with open_stage(sensor.site, coap_network) as stage:
        etag = (await stage.ask(None, 1)).options.etag
        registered = await stage.ask(0, 2, etag=etag)
        assert (registered.code, registered.options.observe is None) == (Code.VALID, False)
        await sensor.change(2)
        assert (await stage.receive_and_acknowledge()).payload == b"2"
        await sensor.change(1)
        notification = await stage.receive_and_acknowledge()
        assert (notification.code, notification.payload, notification.options.etag) == (Code.VALID, b"", etag)
        assert notification.options.max_age == 7
        assert notification.options.observe is not None
        assert stage.observers == 1
