"""With aiocoap 0.4 (PyPI), in both directions: ``aiocoap_server.py`` and ``aiocoap-client``."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.interop.house import House, open_house
from tests.interop.peers import NEEDS_AIOCOAP, Peer, aiocoap_client, coap, has_ipv6
from trio_coap import ACK, CON, NON, Client, Code, NotAcceptable, NotFound, Response, ResponseCache

pytestmark = [pytest.mark.interop, NEEDS_AIOCOAP]

ON_IPV4 = pytest.mark.parametrize("aiocoap", ["127.0.0.1"], indirect=True)
"""For what is slow and does not depend on the address family."""


# Our client asks.


@pytest.fixture
async def note(aiocoap: Peer, client: Client) -> AsyncIterator[str]:
    """The URI of a note that is not there yet, and is gone afterwards."""
    uri = aiocoap.uri + "/note"
    yield uri
    assert (await client.delete(uri)).code == Code.DELETED


async def test_put_get_and_delete(note: str, client: Client) -> None:
    assert (await client.put(note, "grün")).code == Code.CREATED
    assert (await client.put(note, b"\xa1\x61\x61\x01", content_format=60)).code == Code.CHANGED
    response = await client.get(note)
    assert (response.code, response.type, response.payload) == (Code.CONTENT, ACK, b"\xa1\x61\x61\x01")
    assert response.options.content_format == 60
    assert (await client.delete(note)).code == Code.DELETED
    assert (await client.get(note)).code == Code.NOT_FOUND


async def test_text_is_sent_as_text(note: str, client: Client) -> None:
    await client.put(note, "grün")
    response = await client.get(note)
    assert (response.text, response.options.content_format) == ("grün", 0)


async def test_post(aiocoap: Peer, client: Client) -> None:
    numbers = [int((await client.post(aiocoap.uri + "/count", "x")).raise_for_code().text) for _ in range(3)]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


async def test_not_found(aiocoap: Peer, client: Client) -> None:
    response = await client.get(aiocoap.uri + "/nowhere")
    assert response.code == Code.NOT_FOUND
    with pytest.raises(NotFound):
        response.raise_for_code()


async def test_method_not_allowed(aiocoap: Peer, client: Client) -> None:
    assert (await client.delete(aiocoap.uri + "/count")).code == Code.METHOD_NOT_ALLOWED


async def test_accept(aiocoap: Peer, client: Client) -> None:
    response = await client.get(aiocoap.uri + "/reading", accept=50)
    assert response.json() == {"celsius": 21}
    assert response.options.content_format == 50
    with pytest.raises(NotAcceptable):
        (await client.get(aiocoap.uri + "/reading", accept=60)).raise_for_code()


async def test_the_cache_validates_by_the_etags_of_aiocoap(note: str, client: Client) -> None:
    client.cache = ResponseCache()
    await client.put(note, "grün")
    for text in ("grün", "grün", "blau", "blau"):
        if text == "blau":
            await client.put(note, text)
        client.cache.invalidate(note)
        for _ in range(2):
            assert (await client.get(note)).text == text
    statistics = client.cache.statistics()
    assert (statistics.misses, statistics.validations, statistics.hits) == (2, 2, 4)


async def test_separate_response(aiocoap: Peer, client: Client) -> None:
    response = await client.get(aiocoap.uri + "/slow")
    assert (response.code, response.type, response.text) == (Code.CONTENT, CON, "late")
    assert client.endpoint.statistics().retransmissions == 0


async def test_non_confirmable_requests(aiocoap: Peer, client: Client) -> None:
    for path, text in (("/reading", '{"celsius":21}'), ("/slow", "late")):
        response = await client.get(aiocoap.uri + path, confirmable=False)
        assert (response.code, response.type, response.text) == (Code.CONTENT, NON, text)


async def test_many_requests_at_a_time(aiocoap: Peer, client: Client) -> None:
    responses: list[Response] = []

    async def post() -> None:
        responses.append(await client.post(aiocoap.uri + "/count"))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(post)
    numbers = sorted(int(response.text) for response in responses)
    assert numbers == list(range(numbers[0], numbers[0] + 20))


async def test_a_response_that_nobody_waits_for_any_more_is_rejected(aiocoap: Peer, client: Client) -> None:
    with trio.move_on_after(0.15):
        await client.get(aiocoap.uri + "/slow")
    # Cancelled after aiocoap's acknowledgement; the next request goes out although that one is under way there.
    response = await client.get(aiocoap.uri + "/slow")
    assert response.text == "late"
    statistics = client.endpoint.statistics()
    assert statistics.rejected["a response with an unknown token"] == 1
    assert (statistics.tokens, statistics.pending) == (0, 0)


async def test_ping(aiocoap: Peer, client: Client) -> None:
    assert 0 < await client.ping(aiocoap.uri) < 5


async def test_command_puts_and_gets(note: str) -> None:
    done = await coap("put", note, "--json", '{"celsius": 21}', "-f", "cbor")
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
    done = await coap("get", note, "-i")
    assert (done.status, done.payload) == (0, b"\xa1\x67celsius\x15")
    assert "application/cbor" in done.stderr


@ON_IPV4
async def test_command_gets_a_separate_response(aiocoap: Peer) -> None:
    done = await coap("get", aiocoap.uri + "/slow")
    assert (done.status, done.stdout.rstrip("\n"), done.stderr) == (0, "late", "")


@ON_IPV4
async def test_command_says_what_is_not_found(aiocoap: Peer) -> None:
    done = await coap("get", aiocoap.uri + "/nowhere")
    assert (done.status, done.stdout) == (4, "")
    assert "4.04 Not Found" in done.stderr


# aiocoap's client asks.


async def test_client_puts_gets_and_deletes(house: House) -> None:
    uri = house.uri + "/note/a"
    # aiocoap-client knows this content format with its parameter only.
    text = "text/plain; charset=utf-8"
    put = await aiocoap_client("-m", "put", "--payload", "grün", "--content-format", text, uri)
    assert (put.status, put.stdout) == (0, "")
    assert house.requests[0].text == "grün"
    assert house.requests[0].options.content_format == 0
    got = await aiocoap_client(uri)
    assert (got.status, got.stdout) == (0, "grün")
    assert (await aiocoap_client("-m", "delete", uri)).status == 0
    gone = await aiocoap_client(uri)
    assert gone.status == 1
    assert "4.04 Not Found\nthere is no note a" in gone.stderr
    assert house.calls == ["PUT /note/a", "GET /note/a", "DELETE /note/a", "GET /note/a"]


async def test_client_posts(nursery: trio.Nursery) -> None:
    house = await open_house(nursery, "127.0.0.1")
    done = await aiocoap_client("-m", "post", "--payload", "x", house.uri + "/count/a")
    assert (done.status, done.stdout) == (0, "1")


async def test_client_gets_a_separate_response(house: House) -> None:
    done = await aiocoap_client("-v", "-v", house.uri + "/slow")
    assert (done.status, done.stdout) == (0, "late")
    assert house.server is not None
    # Three messages of ours would be a response that was not acknowledged.
    assert house.server.statistics().tx_messages == 2
    assert house.calls == ["GET /slow"]


@pytest.mark.parametrize(("path", "text"), [("/reading", "21 °C"), ("/slow", "late")])
async def test_client_sends_a_non_confirmable_request(nursery: trio.Nursery, path: str, text: str) -> None:
    house = await open_house(nursery, "127.0.0.1")
    done = await aiocoap_client("--non", house.uri + path)
    assert (done.status, done.stdout) == (0, text)
    assert house.requests[0].type is NON
    assert house.server is not None
    assert house.server.statistics().tx_messages == 1


async def test_client_is_told_what_is_wrong(nursery: trio.Nursery) -> None:
    house = await open_house(nursery, "127.0.0.1")
    for arguments, said in [
        (["/nowhere"], "4.04 Not Found\nthere is nothing at /nowhere"),
        (["-m", "post", "/note/a"], "4.05 Method Not Allowed\nPOST is not among GET, PUT, DELETE"),
        (["--accept", "application/cbor", "/reading"], "4.06 Not Acceptable\nthere is Content-Format 0, not 60"),
    ]:
        *options, path = arguments
        done = await aiocoap_client(*options, house.uri + path)
        assert done.status == 1
        assert said in done.stderr


async def test_client_accepts_a_content_format(nursery: trio.Nursery) -> None:
    house = await open_house(nursery, "127.0.0.1")
    done = await aiocoap_client("--accept", "application/json", house.uri + "/reading")
    assert (done.status, done.stdout) == (0, '{"celsius":21}')


async def test_client_gets_from_a_server_that_serves_both_families(nursery: trio.Nursery) -> None:
    if not has_ipv6():
        pytest.skip("there is no ::1 here")
    house = await open_house(nursery, "::")
    for host in ("127.0.0.1", "[::1]"):
        assert (await aiocoap_client(house.uri.replace("[::]", host) + "/reading")).stdout == "21 °C"
