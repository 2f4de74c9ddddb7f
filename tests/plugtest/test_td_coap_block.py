"""TD_COAP_BLOCK of the ETSI plugtests: block-wise transfer (:rfc:`7959`)."""

from __future__ import annotations

from tests.plugtest.rawclient import (
    BLOCK1,
    BLOCK2,
    CONTENT_FORMAT,
    ETAG,
    GET,
    LOCATION_PATH,
    POST,
    PUT,
    Block,
    Message,
    RawClient,
)

TEXT = (CONTENT_FORMAT, 0)
LARGE = 1280


async def download(
    client: RawClient, path: str, exponent: int, *, start: int = 0, code: str = GET, expected: str = "2.05"
) -> tuple[bytes, set[bytes | None]]:
    """Ask for the blocks from *start* on, one by one; return the body and the ETags of its blocks."""
    body, etags, number = b"", set(), start
    while True:
        asked = Block(number, False, exponent)
        options = (TEXT, (BLOCK2, asked.value)) if code == POST else ((BLOCK2, asked.value),)
        response = await client.ask(code, path, *options)
        block = response.block(BLOCK2)
        assert response.code == expected
        assert block is not None
        assert (block.number, block.exponent) == (number, exponent)
        assert len(response.payload) == block.size if block.is_more else 0 < len(response.payload) <= block.size
        body += response.payload
        etags.add(response.octets(ETAG))
        number += 1
        if not block.is_more:
            return body, etags


async def upload(client: RawClient, code: str, path: str, body: bytes, exponent: int) -> Message:
    """Send *body* in blocks, all but the last of which are answered with 2.31; return the last response."""
    size = 16 << exponent
    number = 0
    while True:
        payload, rest = body[:size], body[size:]
        block = Block(number, bool(rest), exponent)
        response = await client.ask(code, path, TEXT, (BLOCK1, block.value), payload=payload)
        assert response.block(BLOCK1) == block
        if not rest:
            return response
        assert (response.code, response.payload) == ("2.31", b"")
        number, body = number + 1, rest


async def test_td_coap_block_01_get_with_early_negotiation(client: RawClient) -> None:
    """GET /large with Block2 0/0/64, then each further block; all in full blocks of 64 but the last, under one ETag."""
    body, etags = await download(client, "/large", 2)
    assert len(body) == LARGE
    assert len(etags) == 1


async def test_td_coap_block_02_get_with_late_negotiation(client: RawClient) -> None:
    """GET /large without Block2; the first block with Block2 0/1.  The rest is asked for in blocks of a quarter."""
    first = await client.ask(GET, "/large")
    block = first.block(BLOCK2)
    assert first.code == "2.05"
    assert block is not None
    assert (block.number, block.is_more, len(first.payload)) == (0, True, block.size)
    rest, etags = await download(client, "/large", block.exponent - 2, start=4)
    assert len(first.payload + rest) == LARGE
    assert first.payload + rest == (await download(client, "/large", 6))[0]
    assert etags == {first.octets(ETAG)}


async def test_td_coap_block_03_put_a_large_resource(client: RawClient) -> None:
    """PUT /large-update in blocks of 64; 2.31 to each but the last, 2.04 to that.  GET returns what was put."""
    body = "".join(f"line {number:3} of what was put\n" for number in range(30)).encode()
    assert (await upload(client, PUT, "/large-update", body, 2)).code == "2.04"
    assert (await download(client, "/large-update", 6))[0] == body


async def test_td_coap_block_04_post_creates_a_large_resource(client: RawClient) -> None:
    """POST /large-create in blocks of 128; 2.31 to each but the last, 2.01 with the Location-Path large-create and one more
    segment to that.  GET of the new resource returns what was posted.
    """
    body = bytes(range(32, 127)) * 10
    response = await upload(client, POST, "/large-create", body, 3)
    assert response.code == "2.01"
    location = [segment.decode() for segment in response.all(LOCATION_PATH)]
    assert location[0] == "large-create"
    assert len(location) == 2
    assert "/" not in location[1]
    assert (await download(client, "/".join(location), 5))[0] == body


async def test_td_coap_block_05_post_with_blocks_in_both_directions(client: RawClient) -> None:
    """POST /large-post in blocks of 64; 2.31 to each but the last, 2.04 with the first block of the response to that, which
    has Block1 and Block2.  The further blocks are asked for by POST without payload; the whole is the text in capitals.
    """
    text = "".join(f"line {number:2} of what was posted;\n" for number in range(90)).encode()
    response = await upload(client, POST, "/large-post", text, 2)
    block = response.block(BLOCK2)
    assert response.code == "2.04"
    assert block is not None
    assert (block.number, block.is_more, len(response.payload)) == (0, True, block.size)
    rest, _ = await download(client, "/large-post", block.exponent - 1, start=2, code=POST, expected="2.04")
    assert response.payload + rest == text.upper()


async def test_td_coap_block_06_get_with_early_negotiation_and_blocks_of_16(client: RawClient) -> None:
    """GET /large with Block2 0/0/16, then each further block; all in blocks of 16, under one ETag."""
    body, etags = await download(client, "/large", 0)
    assert len(body) == LARGE
    assert len(etags) == 1
