"""The list of the ETSI CoAP plugtests, and what of it is no test of a server.

The numbers and purposes are those of the fourth plugtest; those of earlier ones that it has dropped stand in
:data:`NOT_APPLICABLE` with the reason.  ``test_list.py`` checks that each of the others has one test.
"""

from __future__ import annotations

TESTS = {
    "TD_COAP_CORE_01": "GET (CON)",
    "TD_COAP_CORE_02": "DELETE (CON)",
    "TD_COAP_CORE_03": "PUT (CON)",
    "TD_COAP_CORE_04": "POST (CON)",
    "TD_COAP_CORE_05": "GET (NON)",
    "TD_COAP_CORE_06": "DELETE (NON)",
    "TD_COAP_CORE_07": "PUT (NON)",
    "TD_COAP_CORE_08": "POST (NON)",
    "TD_COAP_CORE_09": "GET with a separate response",
    "TD_COAP_CORE_10": "GET with a token",
    "TD_COAP_CORE_11": "GET with a token and a separate response",
    "TD_COAP_CORE_12": "GET with an empty token",
    "TD_COAP_CORE_13": "GET with several Uri-Path options",
    "TD_COAP_CORE_14": "GET with several Uri-Query options",
    "TD_COAP_CORE_15": "GET with a piggybacked response, over a lossy network",
    "TD_COAP_CORE_16": "GET with a separate response, over a lossy network",
    "TD_COAP_CORE_17": "GET with a separate response (NON)",
    "TD_COAP_CORE_18": "POST answered with several Location-Path options",
    "TD_COAP_CORE_19": "POST answered with several Location-Query options",
    "TD_COAP_CORE_20": "GET with Accept",
    "TD_COAP_CORE_21": "GET with ETag: validation",
    "TD_COAP_CORE_22": "PUT with If-Match",
    "TD_COAP_CORE_23": "PUT with If-None-Match",
    "TD_COAP_CORE_31": "ping",
    "TD_COAP_LINK_01": "the well-known interface for discovery",
    "TD_COAP_LINK_02": "discovery filtered by rt",
    "TD_COAP_LINK_03": "discovery filtered by an empty prefix",
    "TD_COAP_LINK_04": "discovery filtered by one of several rt values",
    "TD_COAP_LINK_05": "discovery filtered by if and a prefix",
    "TD_COAP_LINK_06": "discovery filtered by sz and a prefix",
    "TD_COAP_LINK_07": "discovery filtered by href, complete",
    "TD_COAP_LINK_08": "discovery filtered by href and a prefix",
    "TD_COAP_LINK_09": "links arranged hierarchically",
    "TD_COAP_BLOCK_01": "GET of a large resource, early negotiation",
    "TD_COAP_BLOCK_02": "GET of a large resource, late negotiation",
    "TD_COAP_BLOCK_03": "PUT of a large resource",
    "TD_COAP_BLOCK_04": "POST that creates a large resource",
    "TD_COAP_BLOCK_05": "POST with blocks in both directions",
    "TD_COAP_BLOCK_06": "GET of a large resource, early negotiation, blocks of 16",
    "TD_COAP_OBS_01": "observation with CON notifications",
    "TD_COAP_OBS_02": "observation with NON notifications",
    "TD_COAP_OBS_04": "the server loses its observers: no notifications, and registering again works",
    "TD_COAP_OBS_05": "the client is switched off: the server gives up",
    "TD_COAP_OBS_06": "the client resets: the observation ends",
    "TD_COAP_OBS_07": "DELETE ends observations with 4.04",
    "TD_COAP_OBS_08": "another Content-Format ends observations with 4.06",
    "TD_COAP_OBS_09": "PUT is seen by observers",
    "TD_COAP_OBS_10": "GET without Observe does not end an observation",
    "TD_COAP_OBS_11": "observation with CON notifications, over a lossy network",
    "TD_COAP_OBS_12": "GET with Observe 1 ends an observation",
    "TD_COAP_OBS_13": "observation of a large resource",
}
"""What each test is about."""

_REVERSE_PROXY = (
    "configuration CoAP_CFG_03 is about a reverse proxy between client and server, which this server is not"
)

NOT_APPLICABLE = {
    "TD_COAP_CORE_24": f"Location-Path through a proxy: {_REVERSE_PROXY}; at the server it is TD_COAP_CORE_18",
    "TD_COAP_CORE_25": f"Location-Query through a proxy: {_REVERSE_PROXY}; at the server it is TD_COAP_CORE_19",
    "TD_COAP_CORE_26": f"Accept through a proxy: {_REVERSE_PROXY}; at the server it is TD_COAP_CORE_20",
    "TD_COAP_CORE_27": f"If-Match through a proxy: {_REVERSE_PROXY}; at the server it is TD_COAP_CORE_22",
    "TD_COAP_CORE_28": f"If-None-Match through a proxy: {_REVERSE_PROXY}; at the server it is TD_COAP_CORE_23",
    "TD_COAP_CORE_29": f"Max-Age in the cache of a proxy: {_REVERSE_PROXY}",
    "TD_COAP_CORE_30": "no plugtest has a test of that number: the ping, which came last, is 31",
    "TD_COAP_LINK_10": "an alternate link by anchor and rel, of the second plugtest only; no resource /alternate is asked for",
    "TD_COAP_LINK_11": "no plugtest has a test of that number",
    "TD_COAP_LINK_12": "no plugtest has a test of that number",
    "TD_COAP_OBS_03": "stopping an observation by plain GET, which RFC 7641 has dropped; TD_COAP_OBS_10 tests that it does not",
}
"""Why there is no test."""
