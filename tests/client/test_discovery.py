"""Discovery (RFC 6690 section 4; RFC 7252 section 7.2); the peer is played by hand."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left
from trio_coap import (
    Block,
    CoapError,
    Code,
    LocalProtocolError,
    NotFound,
    RemoteProtocolError,
    Request,
    Response,
    Site,
    UriError,
)
from trio_coap.client.discovery import Filter
from trio_coap.testing import VirtualNetwork, open_pair
from trio_coap.wire.linkformat import MAX_FILTERS, Link, LinkFormatError

LINKS = (
    '</sensors/temp>;rt="temperature-c core.s";if="sensor";ct=40,'
    "<light>;rt=light;obs,"
    '<coap://[2001:db8::9]/x>;title="elsewhere",'
    '<leaf>;anchor="/tree/"'
)


async def discover(
    scene: Scene, *answers: Response, filters: dict[str, Filter] | None = None, path: str = "/r"
) -> tuple[tuple[Link, ...], list[Request]]:
    """Return the links, and what was asked."""
    found: list[tuple[Link, ...] | Exception] = []
    requests = []

    async def run() -> None:
        try:
            found.append(await scene.client.discover(scene.peer.uri + path, **(filters or {})))
        except CoapError as exc:
            found.append(exc)

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            for answer in answers:
                requests.append(await scene.peer.receive_request())
                scene.peer.piggyback(requests[-1], answer)
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0], requests


def links(payload: str = LINKS) -> Response:
    return Response(Code.CONTENT, payload, content_format=40)


async def test_the_links_of_a_server_have_uris_as_their_targets(scene: Scene, autojump_clock: MockClock) -> None:
    found, (request,) = await discover(scene, links())
    root = scene.peer.uri
    assert [link.target for link in found] == [
        f"{root}/sensors/temp",
        f"{root}/light",
        "coap://[2001:db8::9]/x",
        f"{root}/tree/leaf",
    ]
    assert found[0].rt == ("temperature-c", "core.s")
    assert (request.code, request.options.uri_path, request.options.accept) == (Code.GET, (".well-known", "core"), 40)
    assert request.options.uri_query == ()


@pytest.mark.parametrize(
    ("filters", "query", "selected"),
    [
        ({"rt": "light"}, ("rt=light",), ["/light"]),
        ({"rt": "core.*"}, ("rt=core.*",), ["/sensors/temp"]),
        ({"if_": "sensor", "ct": 40}, ("if=sensor", "ct=40"), ["/sensors/temp"]),
        ({"obs": True}, (), ["/light"]),
        ({"obs": "*"}, ("obs=*",), ["/light"]),
        ({"href": "/sensors*"}, ("href=/sensors*",), ["/sensors/temp"]),
        ({"rt": "a&b=ü?#%"}, ("rt=a&b=ü?#%",), []),
    ],
)
async def test_filters_are_sent_and_applied_here_if_the_server_does_not(
    filters: dict[str, Filter], query: tuple[str, ...], selected: list[str], scene: Scene, autojump_clock: MockClock
) -> None:
    found, (request,) = await discover(scene, links(), filters=filters)
    assert request.options.uri_query == query
    assert [link.target.removeprefix(scene.peer.uri) for link in found] == selected


async def test_links_in_blocks_are_put_together(scene: Scene, autojump_clock: MockClock) -> None:
    octets = LINKS.encode()
    blocks = [
        Response(
            Code.CONTENT, octets[i : i + 64], content_format=40, block2=Block.of(i // 64, i + 64 < len(octets), 64)
        )
        for i in range(0, len(octets), 64)
    ]
    found, _ = await discover(scene, *blocks)
    assert len(found) == 4


async def test_a_server_without_resources_has_no_links(scene: Scene, autojump_clock: MockClock) -> None:
    found, _ = await discover(scene, Response(Code.CONTENT))
    assert found == ()


async def test_an_error_response_is_raised(scene: Scene, autojump_clock: MockClock) -> None:
    with pytest.raises(NotFound):
        await discover(scene, Response(Code.NOT_FOUND))


@pytest.mark.parametrize(
    "answer", [Response(Code.CONTENT, LINKS, content_format=0), Response(Code.VALID), Response(Code.CONTENT, b"links")]
)
async def test_what_is_no_links_is_an_error(answer: Response, scene: Scene, autojump_clock: MockClock) -> None:
    with pytest.raises(RemoteProtocolError):
        await discover(scene, answer)


async def test_links_that_cannot_be_read_are_an_error(scene: Scene, autojump_clock: MockClock) -> None:
    with pytest.raises(LinkFormatError):
        await discover(scene, links("</a"))


async def test_the_server_is_that_of_any_uri_of_it_or_the_remote(scene: Scene, autojump_clock: MockClock) -> None:
    found, (request,) = await discover(scene, links("</a>"), path="/some/where?x=1")
    assert [link.target for link in found] == [f"{scene.peer.uri}/a"]
    assert request.options.uri_path == (".well-known", "core")
    with pytest.raises(UriError):
        await scene.client.discover("/relative/to/nothing")

    results: list[tuple[Link, ...]] = []

    async def ask_remote() -> None:
        results.append(await scene.client.discover("/", scene.peer.remote))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_remote)
        request = await scene.peer.receive_request()
        scene.peer.piggyback(request, links("</a>"))
    assert [link.target for link in results[0]] == [f"{scene.peer.uri}/a"]
    assert_nothing_is_left(scene.endpoint)


@pytest.mark.parametrize(
    "filters", [{"rt": False}, {"rt": "\ud800"}, {"a=b": "c"}, {f"x{n}": "1" for n in range(MAX_FILTERS + 1)}]
)
async def test_what_is_no_filter_is_the_callers_mistake(filters: dict[str, Filter], scene: Scene) -> None:
    with pytest.raises(LocalProtocolError):
        await scene.client.discover(scene.uri, **filters)


async def test_the_base_uri_says_whom_to_ask(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    site = Site()

    @site.get("/.well-known/core")
    def core(request: Request) -> Response:
        return Response(Code.CONTENT, "</a>", content_format=40)

    async with open_pair(site, network=coap_network) as (client, server):
        (link,) = await client.discover()
        assert link.target == f"{server.uri}/a"
