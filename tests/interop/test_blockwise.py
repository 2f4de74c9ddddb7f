"""Bodies in blocks, with libcoap 4.3.1 and aiocoap, in both directions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.interop.house import House
from tests.interop.peers import NEEDS_AIOCOAP, NEEDS_LIBCOAP, Peer, coap, libcoap_client, run_client
from trio_coap import Client, Code, Response

pytestmark = pytest.mark.interop

BODY = "".join(f"line {number} of the body\n" for number in range(500)).encode()
"""Some 11 KiB, of which no two blocks are equal."""

SIZES = pytest.mark.parametrize("size", [None, 16, 64, 1024])


@NEEDS_LIBCOAP
@SIZES
async def test_up_to_libcoap_and_down(size: int | None, libcoap: Peer, client: Client) -> None:
    uri = libcoap.uri + "/example_data"
    body = BODY[:3000] if size == 16 else BODY
    assert (await client.put(uri, body, block_size=size)).code.is_success
    response = await client.get(uri, block_size=size)
    assert (response.code, response.payload) == (Code.CONTENT, body)
    assert client.endpoint.statistics().retransmissions == 0


@NEEDS_LIBCOAP
async def test_a_stream_up_to_libcoap_and_down(libcoap: Peer, client: Client) -> None:
    uri = libcoap.uri + "/example_data"
    pieces = [BODY[start : start + 777] for start in range(0, len(BODY), 777)]
    async with client.stream(Code.PUT, uri, pieces) as response:
        response.raise_for_code()
    async with client.stream(Code.GET, uri) as response:
        assert b"".join([chunk async for chunk in response.stream()]) == BODY
    assert response.progress.to_receive == len(BODY)


@NEEDS_LIBCOAP
@pytest.mark.parametrize("size", ["16", "64", "1024"])
async def test_up_from_libcoap_and_down(size: str, house: House, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    await libcoap_client("-m", "put", "-b", size, "-f", str(path), house.uri + "/note/x")
    assert house.notes["x"].payload == BODY
    done = await libcoap_client("-m", "get", "-b", size, house.uri + "/note/x")
    assert done.payload.rstrip(b"\n") == BODY.rstrip(b"\n")
    assert house.calls == ["PUT /note/x", "GET /note/x"]


@NEEDS_LIBCOAP
async def test_down_from_libcoap_without_a_size(house: House) -> None:
    house.notes["x"] = Response(payload=BODY)
    done = await libcoap_client("-m", "get", house.uri + "/note/x")
    assert done.payload.rstrip(b"\n") == BODY.rstrip(b"\n")


@NEEDS_AIOCOAP
@SIZES
async def test_up_to_aiocoap_and_down(size: int | None, aiocoap: Peer, client: Client) -> None:
    uri = aiocoap.uri + "/note"
    assert (await client.put(uri, BODY, block_size=size)).code.is_success
    response = await client.get(uri, block_size=size)
    assert (response.code, response.payload) == (Code.CONTENT, BODY)


@NEEDS_AIOCOAP
async def test_up_from_aiocoap_and_down(house: House, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    client = (sys.executable, "-m", "aiocoap.cli.client")
    done = await run_client(*client, "-m", "PUT", "--payload", f"@{path}", house.uri + "/note/x")
    assert (done.status, house.notes["x"].payload) == (0, BODY)
    done = await run_client(*client, "-q", house.uri + "/note/x")
    assert done.payload.rstrip(b"\n") == BODY.rstrip(b"\n")
    assert house.calls == ["PUT /note/x", "GET /note/x"]


@NEEDS_LIBCOAP
async def test_command(libcoap: Peer, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    uri = libcoap.uri + "/example_data"
    assert (await coap("put", uri, "-d", f"@{path}")).status == 0
    assert (await coap("get", uri)).payload == BODY
