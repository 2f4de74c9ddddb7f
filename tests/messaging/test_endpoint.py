"""Endpoints: interning, look-up, URIs and options."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from socket import AF_INET, AF_INET6, AF_UNSPEC, gaierror
from typing import Any

import pytest

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.codes import CON, NON, Code
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Message, Request
from trio_coap.wire.options import Options
from trio_coap.wire.uri import UriError

V4 = Endpoint(("192.0.2.1", 5683))
V6 = Endpoint(("2001:db8::1", 5683))
LINK = Endpoint(("fe80::1", 5683, 0, 2))
NAMED = Endpoint(host="server", family=None)


# Interning


def test_constructing_twice_gives_the_same_object() -> None:
    assert Endpoint(("192.0.2.1", 5683)) is V4
    assert Endpoint(host="192.0.2.1") is V4
    assert Endpoint(host="192.0.2.1", family=AF_INET, port=5683) is V4


@pytest.mark.parametrize(
    "other",
    [
        Endpoint(("192.0.2.1", 5684)),
        Endpoint(("192.0.2.2", 5683)),
        Endpoint(("192.0.2.1", 5683), security_mode="psk"),
        Endpoint(("192.0.2.1", 5683), family=None),
        Endpoint(("2001:db8::1", 5683)),
    ],
)
def test_each_part_of_the_key_counts(other: Endpoint) -> None:
    assert other is not V4


def test_the_socket_address_overrides_host_and_port() -> None:
    assert Endpoint(("192.0.2.1", 5683), host="192.0.2.9", port=9) is V4


def test_an_ipv4_mapped_address_is_the_ipv4_endpoint() -> None:
    assert Endpoint(("::ffff:192.0.2.1", 5683, 0, 0)) is V4


def test_ways_to_write_an_ipv6_address_make_no_difference() -> None:
    assert Endpoint(("2001:DB8:0:0::1", 5683, 7, 3)) is V6


def test_the_scope_of_a_link_local_address_belongs_to_the_key() -> None:
    assert Endpoint(("fe80::1", 5683, 0, 3)) is not LINK
    assert Endpoint(("fe80::1", 5683)) is not LINK
    assert Endpoint(host="fe80::1%2") is LINK


def test_the_registry_does_not_keep_endpoints_alive() -> None:
    """CoAPy's registry was immortal: spoofed source addresses made it grow."""
    address = ("198.51.100.77", 5683)
    endpoint = Endpoint(address)
    assert Endpoint.lookup_endpoint(address) is endpoint
    del endpoint
    gc.collect()
    assert Endpoint.lookup_endpoint(address) is None


def test_an_endpoint_that_is_forgotten_makes_room_for_another() -> None:
    old = Endpoint(("198.51.100.78", 5683))
    old._forget()
    new = Endpoint(("198.51.100.78", 5683))
    assert new is not old
    old._forget()
    assert Endpoint(("198.51.100.78", 5683)) is new


def test_endpoints_with_port_0_are_not_the_same() -> None:
    assert Endpoint(("192.0.2.1", 0)) is not Endpoint(("192.0.2.1", 0))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"host": "example.org"}, "resolve"),
        ({"host": "192.0.2.1", "family": AF_INET6}, "IPv6"),
        ({}, "host"),
        ({"host": "192.0.2.1", "port": 65536}, "port"),
        ({"host": "192.0.2.1", "security_mode": 1}, "security mode"),
    ],
)
def test_what_is_no_endpoint_is_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        Endpoint(**wrong)


def test_the_key_is_that_of_the_registry() -> None:
    assert Endpoint._registry[Endpoint._key_for_sockaddr(("192.0.2.1", 5683), AF_INET)] is V4
    assert Endpoint._registry[Endpoint._key_for_sockaddr(("fe80::1", 5683, 0, 2), AF_INET6)] is LINK
    assert Endpoint._registry[Endpoint._key_for_sockaddr(("server", 5683), None)] is NAMED


def test_the_key_needs_a_family() -> None:
    with pytest.raises(ValueError, match="AF_UNSPEC"):
        Endpoint._key_for_sockaddr(("192.0.2.1", 5683), AF_UNSPEC)


def test_the_canonical_socket_information_has_family_and_address() -> None:
    address = Endpoint._canonical_sockinfo(host="::1")
    assert (address.family, address.sockaddr) == (AF_INET6, ("::1", 5683, 0, 0))


def test_looking_up_makes_nothing() -> None:
    assert Endpoint.lookup_endpoint(("192.0.2.1", 5683)) is V4
    assert Endpoint.lookup_endpoint(host="192.0.2.1") is V4
    assert Endpoint.lookup_endpoint(host="198.51.100.79") is None
    assert Endpoint.lookup_endpoint(host="198.51.100.79") is None


# Properties


def test_an_ipv4_endpoint_says_what_the_seed_says() -> None:
    assert V4.family == AF_INET
    assert V4.sockaddr == ("192.0.2.1", 5683)
    assert V4.in_addr == bytes([192, 0, 2, 1])
    assert V4.port == 5683
    assert V4.security_mode is None
    assert V4.uri_host == "192.0.2.1"
    assert V4.base_uri == V4.uri == "coap://192.0.2.1"


def test_an_ipv6_endpoint_says_what_the_seed_says() -> None:
    endpoint = Endpoint(("2001:db8::1", 61616), security_mode="psk")
    assert endpoint.family == AF_INET6
    assert endpoint.sockaddr == ("2001:db8::1", 61616, 0, 0)
    assert endpoint.in_addr == bytes.fromhex("20010db8000000000000000000000001")
    assert endpoint.uri_host == "[2001:db8::1]"
    assert endpoint.hostinfo == "[2001:db8::1]:61616"
    assert endpoint.base_uri == "coaps://[2001:db8::1]:61616"


def test_an_endpoint_without_family_is_a_name() -> None:
    assert NAMED.family is None
    assert NAMED.sockaddr == ("server", 5683)
    assert NAMED.in_addr == NAMED.uri_host == "server"
    assert NAMED.base_uri == "coap://server"
    assert not NAMED.is_multicast
    assert not NAMED.is_link_local


def test_the_default_port_is_left_out_of_uris() -> None:
    assert V4.hostinfo == "192.0.2.1"
    assert Endpoint(("192.0.2.1", 5684)).hostinfo == "192.0.2.1:5684"
    assert Endpoint(("192.0.2.1", 5684), security_mode="psk").hostinfo == "192.0.2.1"


def test_a_zone_is_written_as_in_uris() -> None:
    assert LINK.scope_id == 2
    assert LINK.uri == "coap://[fe80::1%252]"


@pytest.mark.parametrize(("host", "expected"), [("224.0.1.187", True), ("ff02::fd", True), ("::1", False)])
def test_group_endpoints_are_recognized(host: str, expected: bool) -> None:
    assert Endpoint(host=host).is_multicast is expected


def test_link_local_endpoints_are_recognized() -> None:
    assert LINK.is_link_local
    assert not V6.is_link_local
    assert not V4.is_link_local


def test_an_endpoint_shows_its_uri() -> None:
    assert repr(V6) == "<Endpoint coap://[2001:db8::1]>"


# Peers


def test_a_peer_has_the_same_security_mode() -> None:
    local = Endpoint(("192.0.2.1", 5684), security_mode="psk")
    peer = local.get_peer_endpoint(("192.0.2.9", 5684))
    assert peer is Endpoint(("192.0.2.9", 5684), security_mode="psk")
    assert local.get_peer_endpoint(host="192.0.2.9", port=5684) is peer


def test_a_peer_of_a_name_is_a_name() -> None:
    assert NAMED.get_peer_endpoint(host="client") is Endpoint(host="client", family=None)


def test_a_peer_needs_a_host_or_an_address() -> None:
    with pytest.raises(LocalProtocolError):
        V4.get_peer_endpoint()


@pytest.mark.parametrize(
    ("endpoint", "host", "expected"),
    [
        (V4, "192.0.2.1", True),
        (V4, "192.0.2.2", False),
        (V4, "::ffff:192.0.2.1", True),
        (V4, "example.org", False),
        (V6, "[2001:DB8::1]", True),
        (V6, "2001:db8::1", True),
        (V6, "192.0.2.1", False),
        (LINK, "fe80::1%2", True),
        (LINK, "[fe80::1%252]", True),
        (LINK, "fe80::1%3", False),
        (LINK, "fe80::1%eth0", False),
        (LINK, "fe80::1", True),
        (NAMED, "server", True),
        (NAMED, "client", False),
    ],
)
def test_the_same_host(endpoint: Endpoint, host: str, expected: bool) -> None:
    assert endpoint.is_same_host(host) is expected


# Options


def pairs(options: Options) -> list[tuple[int, bytes]]:
    return list(options)


def test_options_come_in_the_order_of_the_seed() -> None:
    options = V6.uri_to_options("coap://example.net:61616/sensors/temp?unit=K&n=1")
    assert pairs(options) == [
        (3, b"example.net"),
        (7, (61616).to_bytes(2, "big")),
        (11, b"sensors"),
        (11, b"temp"),
        (15, b"unit=K"),
        (15, b"n=1"),
    ]


@pytest.mark.parametrize(
    ("endpoint", "uri"),
    [
        (V6, "coap://[2001:db8::1]/t"),
        (V6, "coap://[2001:DB8:0::1]:5683/t"),
        (V6, "/t"),
        (V6, "t"),
        (V4, "coap://192.0.2.1/t"),
        (V4, "coap://[::ffff:192.0.2.1]/t"),
        (LINK, "coap://[fe80::1%252]/t"),
        (LINK, "coap://[fe80::1%25eth0]/t"),
        (LINK, "/t"),
    ],
)
def test_what_is_the_endpoints_own_is_left_out(endpoint: Endpoint, uri: str) -> None:
    assert pairs(endpoint.uri_to_options(uri)) == [(11, b"t")]


def test_a_name_is_kept() -> None:
    assert V6.uri_to_options("coap://example.net/").uri_host == "example.net"
    assert NAMED.uri_to_options("/t").uri_host == "server"


def test_the_address_of_another_endpoint_is_kept() -> None:
    assert V6.uri_to_options("coap://192.0.2.1/").uri_host == "192.0.2.1"


def test_a_uri_may_be_relative_to_another_base() -> None:
    options = V6.uri_to_options("../c?q", base_uri="coap://example.net/a/b/")
    assert pairs(options) == [(3, b"example.net"), (11, b"a"), (11, b"c"), (15, b"q")]


def test_a_secure_endpoint_takes_coaps() -> None:
    secure = Endpoint(("192.0.2.1", 5684), security_mode="psk")
    assert pairs(secure.uri_to_options("/t")) == [(11, b"t")]


@pytest.mark.parametrize("uri", ["coap+tcp://192.0.2.1/", "http://192.0.2.1/"])
def test_another_scheme_is_refused(uri: str) -> None:
    with pytest.raises(LocalProtocolError, match="scheme"):
        V4.uri_to_options(uri)


def test_what_is_no_uri_is_refused() -> None:
    with pytest.raises(UriError):
        V4.uri_to_options("coap://192.0.2.1/%zz")


@pytest.mark.parametrize(
    ("endpoint", "uri"),
    [
        (V4, "coap://192.0.2.1/"),
        (V6, "coap://[2001:db8::1]/a/b?c=d&e"),
        (V6, "coap://example.net:61616/t"),
        (LINK, "coap://[fe80::1%252]/t"),
        (NAMED, "coap://server/t"),
        (Endpoint(("192.0.2.1", 5684), security_mode="psk"), "coaps://192.0.2.1/t"),
    ],
)
def test_options_and_back(endpoint: Endpoint, uri: str) -> None:
    assert endpoint.uri_from_options(endpoint.uri_to_options(uri)) == uri


def test_without_options_the_uri_is_that_of_the_endpoint() -> None:
    assert V6.uri_from_options(Options()) == "coap://[2001:db8::1]/"


# Requests


def test_a_request_is_a_non_get_by_default() -> None:
    request = V6.create_request("/lamp?on")
    assert isinstance(request, Request)
    assert (request.type, request.code, request.token, request.message_id) == (NON, Code.GET, b"", None)
    assert pairs(request.options) == [(11, b"lamp"), (15, b"on")]
    assert request.payload == b""
    assert request.destination_endpoint is V6


def test_a_request_as_asked_for() -> None:
    more = Options(accept=50)
    request = V6.create_request(
        "/lamp", confirmable=True, code=(0, 3), message_id=7, token=b"\x01", options=more, payload="on"
    )
    assert (request.type, request.code, request.token, request.message_id) == (CON, Code.PUT, b"\x01", 7)
    assert request.options.uri_path == ("lamp",)
    assert request.options.accept == 50
    assert request.payload == b"on"


def test_a_code_may_be_a_code() -> None:
    assert V6.create_request("/", code=Code.DELETE).code is Code.DELETE


@pytest.mark.parametrize(
    ("endpoint", "host", "port", "expected"),
    [
        (V6, "2001:db8::1", 5683, []),
        (V6, "example.net", 61616, [(3, b"example.net"), (7, b"\xf0\xb0")]),
        (V6, None, 5683, []),
        (LINK, "fe80::1", None, []),
        (V6, "192.0.2.1", None, [(3, b"192.0.2.1")]),
    ],
)
def test_finalizing_leaves_out_what_is_the_endpoints_own(
    endpoint: Endpoint, host: str | None, port: int | None, expected: list[tuple[int, bytes]]
) -> None:
    request = Request(Code.GET, uri_host=host, uri_port=port)
    assert pairs(endpoint.finalize_message(request).options) == expected


def test_finalizing_what_needs_nothing_gives_the_same_message() -> None:
    request = Request(Code.GET, uri_path=["t"])
    assert V6.finalize_message(request) is request


def test_finalizing_leaves_the_given_message_alone() -> None:
    request = Request(Code.GET, uri_port=5683)
    V6.finalize_message(request)
    assert request.options.uri_port == 5683


def test_finalizing_checks_the_options() -> None:
    message = Message.decode(bytes.fromhex("40010001" + "31ff"))  # Uri-Host that is no UTF-8
    with pytest.raises(LocalProtocolError, match="Uri-Host"):
        V6.finalize_message(message)


def test_finalizing_takes_options_that_nobody_knows() -> None:
    message = Message.decode(bytes.fromhex("40010001" + "e1f00001"))
    assert V6.finalize_message(message) is message


# Resolving


class Resolver:
    """A resolver that knows a few names."""

    def __init__(self, known: dict[str, list[tuple[Any, ...]]]) -> None:
        self.known = known
        self.asked: list[tuple[str, int, int]] = []

    async def __call__(self, host: str, port: int, family: int) -> Sequence[tuple[Any, ...]]:
        self.asked.append((host, port, family))
        if host not in self.known:
            raise gaierror(-2, "Name or service not known")
        return self.known[host]


async def test_a_name_resolves_to_its_endpoints_in_order() -> None:
    resolver = Resolver({"server": [("2001:db8::1", 5683, 0, 0), ("192.0.2.1", 5683)]})
    assert await Endpoint.resolve("server", resolver=resolver) == (V6, V4)
    assert resolver.asked == [("server", 5683, AF_UNSPEC)]


async def test_port_family_and_security_mode_are_passed_on() -> None:
    resolver = Resolver({"server": [("192.0.2.1", 5684)]})
    (endpoint,) = await Endpoint.resolve("server", 5684, family=AF_INET, security_mode="psk", resolver=resolver)
    assert endpoint is Endpoint(("192.0.2.1", 5684), security_mode="psk")
    assert resolver.asked == [("server", 5684, AF_INET)]


async def test_an_address_that_comes_twice_counts_once() -> None:
    resolver = Resolver({"server": [("192.0.2.1", 5683), ("::ffff:192.0.2.1", 5683, 0, 0)]})
    assert await Endpoint.resolve("server", resolver=resolver) == (V4,)


async def test_a_name_that_does_not_resolve_raises_what_the_resolver_raises() -> None:
    with pytest.raises(gaierror):
        await Endpoint.resolve("nowhere", resolver=Resolver({}))


async def test_the_drivers_say_whom_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "_resolver", None)
    with pytest.raises(LocalProtocolError, match="resolver"):
        await Endpoint.resolve("server")
    Endpoint.set_resolver(Resolver({"server": [("192.0.2.1", 5683)]}))
    assert await Endpoint.resolve("server") == (V4,)


@pytest.mark.parametrize(("security_mode", "scheme"), [(None, "coaps"), ("DTLS", "coap")])
def test_a_request_is_not_for_a_scheme_that_is_not_the_endpoints(security_mode: str | None, scheme: str) -> None:
    endpoint = Endpoint(host="192.0.2.1", security_mode=security_mode)
    with pytest.raises(LocalProtocolError, match=f"'{scheme}'"):
        endpoint.uri_to_options(f"{scheme}://192.0.2.1/secret")
    with pytest.raises(LocalProtocolError, match=f"'{scheme}'"):
        endpoint.create_request(f"{scheme}://192.0.2.1/secret")
