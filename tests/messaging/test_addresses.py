"""The one form of a socket address."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, AF_UNSPEC, inet_pton

import pytest

from trio_coap.messaging.addresses import canonical_address, is_group, is_link_local, is_loopback
from trio_coap.wire.errors import LocalProtocolError


@pytest.mark.parametrize("family", [AF_INET, AF_UNSPEC])
def test_an_ipv4_address(family: int) -> None:
    address = canonical_address("192.0.2.1", 5683, family)
    assert address.family == AF_INET
    assert address.in_addr == bytes([192, 0, 2, 1])
    assert address.sockaddr == ("192.0.2.1", 5683)


@pytest.mark.parametrize("family", [AF_INET6, AF_UNSPEC])
def test_an_ipv6_address(family: int) -> None:
    address = canonical_address("2001:DB8:0::1", 5683, family)
    assert address.family == AF_INET6
    assert address.in_addr == bytes.fromhex("20010db8000000000000000000000001")
    assert address.sockaddr == ("2001:db8::1", 5683, 0, 0)


@pytest.mark.parametrize("family", [AF_INET6, AF_UNSPEC])
def test_an_ipv4_mapped_address_is_the_ipv4_address(family: int) -> None:
    assert canonical_address("::ffff:192.0.2.1", 5683, family) == canonical_address("192.0.2.1", 5683)


def test_the_scope_of_a_link_local_address_counts() -> None:
    one, two = canonical_address("fe80::1", 5683, scope_id=1), canonical_address("fe80::1", 5683, scope_id=2)
    assert one != two
    assert two.sockaddr == ("fe80::1", 5683, 0, 2)
    assert two.literal == "fe80::1%2"


def test_the_scope_of_a_group_address_counts() -> None:
    assert canonical_address("ff02::fd", 5683, scope_id=3).scope_id == 3


def test_the_scope_of_a_global_address_does_not_count() -> None:
    assert canonical_address("2001:db8::1", 5683, scope_id=2) == canonical_address("2001:db8::1", 5683)


def test_a_numeric_zone_is_the_scope() -> None:
    assert canonical_address("fe80::1%2", 5683, scope_id=7).scope_id == 2


def test_a_named_zone_is_for_the_resolver() -> None:
    with pytest.raises(LocalProtocolError, match="resolve"):
        canonical_address("fe80::1%eth0", 5683)


@pytest.mark.parametrize("zone", ["4294967296", "9" * 5000])
def test_a_zone_beyond_32_bits_is_refused(zone: str) -> None:
    with pytest.raises(LocalProtocolError, match="zone"):
        canonical_address(f"fe80::1%{zone}", 5683)


@pytest.mark.parametrize("host", ["example.org", "", "192.0.2.256", "2001:db8::1::2", "a\0b", "ü", "192.0.2.1%2"])
def test_what_is_no_number_is_refused_and_resolve_is_named(host: str) -> None:
    with pytest.raises(LocalProtocolError, match="resolve"):
        canonical_address(host, 5683)


@pytest.mark.parametrize(("host", "family"), [("192.0.2.1", AF_INET6), ("2001:db8::1", AF_INET)])
def test_an_address_of_the_other_family_is_refused(host: str, family: int) -> None:
    with pytest.raises(LocalProtocolError, match="IPv"):
        canonical_address(host, 5683, family)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="family"):
        canonical_address("192.0.2.1", 5683, 4711)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(LocalProtocolError, match="port"):
        canonical_address("192.0.2.1", port)


def test_without_a_family_the_host_is_a_name_in_net_unicode() -> None:
    address = canonical_address("Zu\u0308rich", 1, None)
    assert address.family is None
    assert address.in_addr == "Zürich"
    assert address.sockaddr == ("Zürich", 1)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("224.0.0.1", True), ("239.255.0.1", True), ("192.0.2.1", False), ("ff02::1", True), ("fe80::1", False)],
)
def test_groups_are_recognized(host: str, expected: bool) -> None:
    packed = canonical_address(host, 0).in_addr
    assert isinstance(packed, bytes)
    assert is_group(packed) is expected


@pytest.mark.parametrize(
    ("host", "expected"), [("fe80::1", True), ("febf::1", True), ("fec0::1", False), ("254.128.0.1", False)]
)
def test_link_local_addresses_are_recognized(host: str, expected: bool) -> None:
    packed = canonical_address(host, 0).in_addr
    assert isinstance(packed, bytes)
    assert is_link_local(packed) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.255.0.9", True), ("::1", True), ("128.0.0.1", False), ("::2", False), ("::", False)],
)
def test_loopback_addresses_are_recognized(host: str, expected: bool) -> None:
    assert is_loopback(inet_pton(AF_INET6 if ":" in host else AF_INET, host)) is expected
