"""From URIs to those who are asked."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from trio_coap import Client, Code, Endpoint, LocalProtocolError, Options, UriError
from trio_coap.client import targets
from trio_coap.client.targets import TargetFinder
from trio_coap.testing import VirtualNetwork, open_pair
from trio_coap.transports.resolver import resolve_addresses


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr("trio.to_thread.run_sync", refuse)
    monkeypatch.setattr("trio._threads.to_thread_run_sync", refuse)
    monkeypatch.setattr("trio._socket.trio.to_thread.run_sync", refuse, raising=False)


class Resolver:
    """A resolver with a table."""

    def __init__(self, *addresses: tuple[Any, ...]) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int, int]] = []

    async def __call__(self, host: str, port: int, family: int) -> tuple[tuple[Any, ...], ...]:
        await trio.lowlevel.checkpoint()
        self.asked.append((host, port, family))
        return self.addresses


@pytest.fixture
def use_resolver(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(*addresses: tuple[Any, ...]) -> Resolver:
        resolver = Resolver(*addresses)
        monkeypatch.setattr(Endpoint, "_resolver", staticmethod(resolver))
        return resolver

    return use


@pytest.mark.parametrize(
    ("uri", "sockaddr"),
    [
        ("coap://192.0.2.1/r", ("192.0.2.1", 5683)),
        ("coap://192.0.2.1:61616", ("192.0.2.1", 61616)),
        ("coap://[2001:db8::1]/", ("2001:db8::1", 5683, 0, 0)),
        ("coap://[::ffff:192.0.2.1]/", ("192.0.2.1", 5683)),
        ("COAP://[2001:DB8:0::1]:1/", ("2001:db8::1", 1, 0, 0)),
        ("coap://[fe80::1%251]/", ("fe80::1", 5683, 0, 1)),
        ("coap://[fe80::1%25lo]/", ("fe80::1", 5683, 0, socket.if_nametoindex("lo"))),
    ],
)
async def test_a_numeric_host_touches_no_thread(uri: str, sockaddr: tuple[Any, ...], no_threads: None) -> None:
    [(endpoint, _)] = await TargetFinder().find(uri)
    assert endpoint.sockaddr == sockaddr


async def test_a_name_does_touch_a_thread(no_threads: None) -> None:
    """So that the test above shows something."""
    with pytest.raises(AssertionError, match="a thread"):
        await TargetFinder().find("coap://localhost/")


async def test_the_resolver_gives_both_families_in_its_order(coap_network: VirtualNetwork) -> None:
    coap_network.host("2001:db8::7", "10.7.7.7", name="both")
    assert await resolve_addresses("both", 61616, socket.AF_UNSPEC) == [
        ("2001:db8::7", 61616, 0, 0),
        ("10.7.7.7", 61616),
    ]
    assert await resolve_addresses("both", 61616, socket.AF_INET) == [("10.7.7.7", 61616)]


async def test_a_name_that_nobody_has(coap_network: VirtualNetwork, scene: Scene) -> None:
    with pytest.raises(socket.gaierror):
        await scene.client.get("coap://nobody/")
    assert scene.endpoint.statistics().tokens == 0


async def test_a_name_gives_all_of_its_addresses_in_order_and_each_once(use_resolver: Any) -> None:
    resolver = use_resolver(
        ("2001:db8::1", 99, 0, 0), ("192.0.2.1", 99), ("::ffff:192.0.2.1", 99, 0, 0), ("192.0.2.2", 99)
    )
    found = await TargetFinder().find("coap://Example.COM:99/r")
    assert [endpoint.hostinfo for endpoint, _ in found] == ["[2001:db8::1]:99", "192.0.2.1:99", "192.0.2.2:99"]
    assert resolver.asked == [("example.com", 99, socket.AF_UNSPEC)]
    assert [options.uri_host for _, options in found] == ["example.com"] * 3


async def test_a_name_is_resolved_anew_each_time(use_resolver: Any) -> None:
    finder = TargetFinder()
    use_resolver(("192.0.2.1", 5683))
    [(first, _)] = await finder.find("coap://example/")
    use_resolver(("192.0.2.2", 5683))
    [(second, _)] = await finder.find("coap://example/")
    assert [first.hostinfo, second.hostinfo] == ["192.0.2.1", "192.0.2.2"]


async def test_a_link_local_address_without_a_zone_is_refused(scene: Scene) -> None:
    with pytest.raises(LocalProtocolError, match=r"link-local; .* coap://\[fe80::1%25eth0\]/"):
        await scene.client.get("coap://[fe80::1]/r")


@pytest.mark.parametrize(("host", "reason"), [("fe80::1", "link-local"), ("::", "means all addresses")])
async def test_a_remote_that_cannot_be_one_is_refused_too(scene: Scene, host: str, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        await scene.client.get("/r", remote=Endpoint(host=host))


async def test_a_name_with_a_link_local_address_without_a_zone_has_other_addresses(use_resolver: Any) -> None:
    use_resolver(("fe80::1", 5683, 0, 0), ("192.0.2.1", 5683))
    found = await TargetFinder().find("coap://example/")
    assert [endpoint.hostinfo for endpoint, _ in found] == ["192.0.2.1"]


async def test_a_name_with_nothing_but_a_link_local_address_without_a_zone_is_refused(use_resolver: Any) -> None:
    use_resolver(("fe80::1", 5683, 0, 0))
    with pytest.raises(LocalProtocolError, match=r"coap://\[fe80::1%25eth0\]/"):
        await TargetFinder().find("coap://example/")


@pytest.mark.parametrize("uri", ["http://192.0.2.1/", "coapp://192.0.2.1", "mailto:a@b"])
async def test_a_scheme_that_is_not_of_coap_is_refused(uri: str, scene: Scene) -> None:
    with pytest.raises(UriError):
        await scene.client.get(uri)


@pytest.mark.parametrize("scheme", ["coaps", "coap+tcp", "coaps+tcp", "coap+ws", "coaps+ws"])
async def test_a_scheme_without_a_transport_is_refused(scheme: str, scene: Scene) -> None:
    with pytest.raises(LocalProtocolError, match=f"no transport for {scheme!r}".replace("+", r"\+")):
        await scene.client.get(f"{scheme}://192.0.2.1/")


@pytest.mark.parametrize("uri", ["coap://192.0.2.1/r#fragment", "coap:///r", "coap://192.0.2.1:99999/", "coap://a b/"])
async def test_what_is_no_uri_of_coap_is_refused(uri: str, scene: Scene) -> None:
    with pytest.raises(UriError):
        await scene.client.get(uri)


async def test_the_table_of_known_uris_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MAX_REMEMBERED_URIS", 3)
    finder = TargetFinder()
    for number in range(10):
        [(_, options)] = await finder.find(f"coap://192.0.2.1/{number}")
        assert options.uri_path == (f"{number}",)
        assert len(finder._numeric) <= 3


async def test_a_uri_that_is_known_is_a_checkpoint_too() -> None:
    finder = TargetFinder()
    with trio.CancelScope() as scope:
        await finder.find("coap://192.0.2.1/r")
        scope.cancel()
        await finder.find("coap://192.0.2.1/r")
    assert scope.cancelled_caught


async def test_two_clients_can_use_one_endpoint(autojump_clock: MockClock) -> None:
    async with open_pair(lambda request: "/".join(request.options.uri_path)) as (client, server):
        other = Client(client.endpoint, f"{server.uri}/other/")
        assert (await client.get("r")).text == "r"
        assert (await other.get("r")).text == "other/r"


async def test_options_of_the_uri_come_before_those_of_the_caller(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, f"{scene.peer.uri}/a?b", options=Options(uri_path=("c",))) as handle:
        assert handle.request.options.uri_path == ("a", "c")


async def test_a_name_without_an_address_is_a_name_that_does_not_resolve(use_resolver: Any) -> None:
    use_resolver()
    with pytest.raises(socket.gaierror, match="knows no address of nowhere"):
        await TargetFinder().find("coap://nowhere/")


@pytest.mark.parametrize("host", ["[::]", "0.0.0.0"])
async def test_nobody_can_be_asked_at_all_addresses(host: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"means all addresses of a server; ask 127\.0\.0\.1 or \[::1\]"):
        await TargetFinder().find(f"coap://{host}/r")


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
async def test_a_host_that_no_resolver_would_take_does_not_resolve(host: str) -> None:
    with pytest.raises(socket.gaierror, match="is not a host name"):
        await TargetFinder().find(f"coap://{host}/r")


async def test_a_remote_is_an_endpoint() -> None:
    with pytest.raises(LocalProtocolError, match=r"a remote is an Endpoint, not '10.0.0.1'"):
        await TargetFinder().find("/r", "10.0.0.1")  # type: ignore[arg-type]
