"""The resources of the plugtests, asked by the clients of others: libcoap's, and aiocoap's where it can."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from tests.interop.peers import NEEDS_AIOCOAP, NEEDS_LIBCOAP, Finished, aiocoap_client, libcoap_client
from trio_coap.cli.plugtest import Plugtest
from trio_coap.cli.plugtest_resources import FORMATS, LARGE_BODY

pytestmark = pytest.mark.interop

CREATED, CHANGED, DELETED, CONTENT, PRECONDITION_FAILED = "2.01", "2.04", "2.02", "2.05", "4.12"


class Libcoap:
    """libcoap's client, in front of the server."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    async def __call__(self, path: str, *arguments: str) -> Finished:
        return await libcoap_client("-v", "7", *arguments, self.uri + path)

    async def code(self, path: str, *arguments: str) -> str:
        """Return the code of the last response."""
        received = [seen for seen in (await self(path, *arguments)).messages if seen.way == "received"]
        return received[-1].code


@pytest.fixture
def libcoap(plugtest: Plugtest) -> Libcoap:
    return Libcoap(plugtest.uri)


@NEEDS_LIBCOAP
async def test_libcoap_methods(libcoap: Libcoap) -> None:
    """TD_COAP_CORE_01 to 08, with CON and NON."""
    for reliability in ((), ("-N",)):
        codes = [await libcoap.code("/test", *reliability)]
        codes += [await libcoap.code("/test", *reliability, "-m", method, "-e", "x") for method in ("put", "post")]
        codes.append(await libcoap.code("/test", *reliability, "-m", "delete"))
        assert codes == [CONTENT, CHANGED, CREATED, DELETED]


@NEEDS_LIBCOAP
async def test_libcoap_locations_paths_and_queries(libcoap: Libcoap) -> None:
    """TD_COAP_CORE_13, 14, 18, 19."""
    assert await libcoap.code("/seg1/seg2/seg3") == CONTENT
    assert "third=3" in (await libcoap("/query?first=1&second=2&third=3")).messages[-1].payload
    post = (await libcoap("/test", "-m", "post", "-e", "x", "-t", "0")).messages[-1]
    assert re.findall(r"Location-Path:(\w+)", post.options) == ["location1", "location2", "location3"]
    post = (await libcoap("/location-query", "-m", "post", "-e", "x", "-t", "0")).messages[-1]
    assert re.findall(r"Location-Query:([\w=]+)", post.options) == ["first=1", "second=2"]


@NEEDS_LIBCOAP
async def test_libcoap_separate_responses(libcoap: Libcoap) -> None:
    """TD_COAP_CORE_09, 17."""
    done = await libcoap("/separate")
    assert done.exchange == ["sent CON GET", "received ACK 0.00", "received CON 2.05", "sent ACK 0.00"]
    assert (await libcoap("/separate", "-N")).exchange == ["sent NON GET", "received NON 2.05"]


@NEEDS_LIBCOAP
async def test_libcoap_loses_datagrams(libcoap: Libcoap) -> None:
    """TD_COAP_CORE_15: its first datagram is lost, and it sends it again."""
    done = await libcoap("/test", "-l", "1")
    assert done.exchange[-1] == "received ACK 2.05"


@NEEDS_LIBCOAP
async def test_libcoap_accept(libcoap: Libcoap) -> None:
    """TD_COAP_CORE_20."""
    for number, body in ((0, "plain text"), (41, FORMATS["application/xml"]), (50, FORMATS["application/json"])):
        assert (await libcoap("/multi-format", "-A", str(number))).messages[-1].payload == body
    assert await libcoap.code("/multi-format", "-A", "110") == "4.06"


@NEEDS_LIBCOAP
async def test_libcoap_validation_and_conditions(libcoap: Libcoap) -> None:
    """TD_COAP_CORE_21, 22, 23."""
    found = re.search(r"ETag:0x([0-9a-f]+)", (await libcoap("/validate")).messages[-1].options)
    assert found is not None
    etag = f"0x{found[1]}"
    assert await libcoap.code("/validate", "-O", f"4,{etag}") == "2.03"
    put = ("-m", "put", "-t", "0", "-e", "changed")
    assert await libcoap.code("/validate", *put, "-O", f"1,{etag}") == CHANGED
    assert await libcoap.code("/validate", *put, "-O", f"1,{etag}") == PRECONDITION_FAILED
    assert await libcoap.code("/create1", *put, "-O", "5,") == CREATED
    assert await libcoap.code("/create1", *put, "-O", "5,") == PRECONDITION_FAILED


@NEEDS_LIBCOAP
async def test_libcoap_discovery(libcoap: Libcoap) -> None:
    """TD_COAP_LINK_01, 02, 05, 08, 09."""

    async def paths(path: str) -> set[str]:
        done = await libcoap_client(libcoap.uri + path)
        return set(re.findall(r"<([^>]*)>", done.stdout))

    assert {"/test", "/large", "/obs"} < await paths("/.well-known/core")
    assert await paths("/.well-known/core?rt=Type1") == {"/link1", "/link3"}
    assert await paths("/.well-known/core?if=If*") == {"/link1", "/link2"}
    assert await paths("/.well-known/core?href=/link*") == {"/link1", "/link2", "/link3"}
    assert await paths("/path") == {"/path/sub1", "/path/sub2", "/path/sub3"}


@NEEDS_LIBCOAP
async def test_libcoap_blocks(libcoap: Libcoap, tmp_path: Path) -> None:
    """TD_COAP_BLOCK_01 to 06."""
    for arguments in ((), ("-b", "64"), ("-b", "16")):
        done = await libcoap_client(*arguments, "-o", str(tmp_path / "large"), libcoap.uri + "/large")
        assert (done.stderr, (tmp_path / "large").read_text()) == ("", LARGE_BODY)
    body = bytes(range(97, 123)) * 60
    (tmp_path / "body").write_bytes(body)
    send = ("-t", "0", "-b", "64", "-f", str(tmp_path / "body"))
    assert await libcoap.code("/large-update", "-m", "put", *send) == CHANGED
    await libcoap_client("-o", str(tmp_path / "updated"), libcoap.uri + "/large-update")
    assert (tmp_path / "updated").read_bytes() == body
    created = (await libcoap("/large-create", "-m", "post", *send)).messages[-1]
    assert created.code == CREATED
    location = "/".join(re.findall(r"Location-Path:([\w-]+)", created.options))
    await libcoap_client("-o", str(tmp_path / "created"), f"{libcoap.uri}/{location}")
    assert (tmp_path / "created").read_bytes() == body
    await libcoap_client("-m", "post", *send, "-o", str(tmp_path / "posted"), libcoap.uri + "/large-post")
    assert (tmp_path / "posted").read_bytes() == body.upper()


@NEEDS_LIBCOAP
@pytest.mark.slow
async def test_libcoap_observes(libcoap: Libcoap, plugtest: Plugtest) -> None:
    """TD_COAP_OBS_01, 12."""
    done = await libcoap("/obs", "-s", "1", "-B", "3")
    notifications = [seen for seen in done.messages if seen.way == "received" and "Observe:" in seen.options]
    assert len(notifications) >= 3
    assert {seen.type for seen in notifications[1:]} == {"CON"}
    assert plugtest.observers == 0


@NEEDS_AIOCOAP
async def test_aiocoap_methods_formats_and_blocks(plugtest: Plugtest) -> None:
    """TD_COAP_CORE_01 to 04, 20, TD_COAP_BLOCK_01, 05."""
    text = "line of what is posted;\n" * 100
    assert (await aiocoap_client(plugtest.uri + "/test")).stdout.startswith("This is the resource")
    for method in ("PUT", "POST", "DELETE"):
        done = await aiocoap_client("-m", method, "--payload", "x", plugtest.uri + "/test")
        assert done.status == 0
    done = await aiocoap_client("--accept", "application/xml", plugtest.uri + "/multi-format")
    assert done.stdout.strip() == FORMATS["application/xml"]
    assert (await aiocoap_client("--accept", "application/link-format", plugtest.uri + "/multi-format")).status == 1
    assert (await aiocoap_client(plugtest.uri + "/large")).stdout == LARGE_BODY
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        send = ("--payload", f"@{file.name}", "--content-format", "0", "--payload-initial-szx", "2")
        done = await aiocoap_client("-m", "POST", *send, plugtest.uri + "/large-post")
    assert done.stdout.strip() == text.upper().strip()
