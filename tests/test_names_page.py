"""The names of CoAPy's and aiocoap's modules: each is here, or the page says what does its job."""

from __future__ import annotations

import importlib
import re
from functools import reduce

import pytest

from tests.test_house import REPOSITORY
from trio_coap import Endpoint

PAGE = (REPOSITORY / "docs" / "names.md").read_text(encoding="utf-8")
MODULES = [
    "trio_coap",
    "trio_coap.messaging.cache",
    "trio_coap.messaging.received",
    "trio_coap.messaging.remote",
    "trio_coap.messaging.sent",
    "trio_coap.transports.udp.errors",
]

COAPY = {
    "Endpoint": "_canonical_sockinfo _key_for_sockaddr _reset base_uri create_request family finalize_message "
    "get_peer_endpoint in_addr is_same_host lookup_endpoint port security_mode sockaddr uri_from_options uri_host "
    "uri_to_options",
    "LocalEndpoint": "_rawrecvfrom _rawsendto _reset next_message_id rawrecvfrom rawsendto receive remote_state send",
    "SocketEndpoint": "_rawrecvfrom _rawsendto bound_socket create_bound_endpoint set_bound_socket",
    "MessageCache": "_add _remove _reposition clear endpoint is_sent_cache pending queue",
    "MessageCacheEntry": "_dissociate activated_clk cache created_clk expires_clk message message_id process_timeout "
    "time_due",
    "SentMessageCacheEntry": "destination_endpoint reply_message stale_at transmissions",
    "RcvdMessageCacheEntry": "reception_count reply reply_message",
    "RemoteEndpointState": "endpoint last_heard_clk rcvd_cache rx_messages rx_octets tx_messages tx_octets "
    "tx_octets_since_heard",
    "ReplyMessageError": "ALREADY_GIVEN ID_MISMATCH NOT_RESPONSE RESPONSE_NOT_ACK TOKEN_MISMATCH",
}
"""The names of coapy.endpoint that are here as they are there, by class."""

COAPY_OTHERWISE = ["Endpoint(host=name)", "coapy.clock", "MessageCache._activate", "MessageCacheEntry._get_time_due"]

UDP6 = {
    "UDP6EndpointAddress": "hostinfo uri is_multicast is_multicast_locally",
    "SockExtendedErr": "load",
    "MessageInterfaceUDP6": "ready send create_client_transport_endpoint create_server_transport_endpoint "
    "determine_remote recognize_remote shutdown connection_made datagram_msg_received datagram_errqueue_received "
    "error_received connection_lost",
}
"""The names of aiocoap.transports.udp6, by class."""


def names_of(classes: dict[str, str]) -> list[str]:
    return [f"{name}.{member}" for name, members in classes.items() for member in members.split()]


def find(name: str) -> object:
    """Return what *name* stands for in the modules of this package."""
    first, *rest = name.split(".")
    for module in map(importlib.import_module, MODULES):
        if hasattr(module, first):
            return reduce(getattr, rest, getattr(module, first))
    raise AttributeError(f"there is no {first}")


def names_in(cell: str) -> list[str]:
    return [name.removesuffix("()") for name in re.findall(r"`([^`]+)`", cell)]


ROWS = [
    (names_in(there), names_in(here), why.strip())
    for there, here, why in re.findall(r"^\| (`[^|]*) \| (`[^|]*) \|([^|]*)\|$", PAGE, re.MULTILINE)
]


@pytest.mark.parametrize("name", names_of(COAPY))
def test_a_name_of_coapy_is_here(name: str) -> None:
    find(name)


@pytest.mark.parametrize("name", COAPY_OTHERWISE + names_of(UDP6))
def test_the_page_says_what_is_here_instead(name: str) -> None:
    assert [why for there, _, why in ROWS if name in there], f"{name} is not in the table"


@pytest.mark.parametrize("name", sorted({name for _, here, _ in ROWS for name in here}))
def test_what_the_page_says_is_here(name: str) -> None:
    find(name)


def test_each_row_has_a_sentence() -> None:
    assert len(ROWS) == PAGE.count("\n| `"), "a row is not understood"
    assert all(why.endswith(".") for *_, why in ROWS)


@pytest.mark.parametrize(
    ("sockaddr", "hostinfo", "is_multicast"),
    [
        (("::ffff:127.0.0.1", 5683, 0, 0), "127.0.0.1", False),
        (("ff05:0:0:0:0:0:0:fd", 1234, 0, 0), "[ff05::fd]:1234", True),
        (("::ffff:224.0.1.187", 5683, 0, 0), "224.0.1.187", True),
    ],
)
def test_addresses_are_shown_as_in_the_examples_of_udp6(
    sockaddr: tuple[str, int, int, int], hostinfo: str, is_multicast: bool
) -> None:
    endpoint = Endpoint(sockaddr)
    assert (endpoint.hostinfo, endpoint.uri, endpoint.is_multicast) == (hostinfo, f"coap://{hostinfo}", is_multicast)


@pytest.mark.parametrize("name", ["Nothing", "Endpoint.nothing"])
def test_what_is_not_here_is_not_found(name: str) -> None:
    with pytest.raises(AttributeError):
        find(name)
