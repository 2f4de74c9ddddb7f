"""What a person types for a URI, made a URI."""

from __future__ import annotations

import re

from trio_coap.cli.problems import UsageError
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.patterns import lazy_pattern
from trio_coap.wire.uri import SCHEMES, CoapUri, parse_uri

_WITH_SCHEME = lazy_pattern(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WITHOUT_SLASHES = lazy_pattern(rf"({'|'.join(map(re.escape, SCHEMES))}):/?(?![0-9/])(.+)", re.IGNORECASE)
_BARE_IPV6 = lazy_pattern(r"([0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[^/\]]+)?)(/.*)?", re.DOTALL)


def read_uri(text: str, *, may_be_group: bool = False) -> CoapUri:
    """Return the URI that *text* stands for; a bare ``host/path`` means ``coap://host/path``.

    Args:
      text: what was typed.
      may_be_group: whether the host may be the address of a group.

    Raises:
      UsageError: if it is none, or the command cannot ask there.
      UriError: likewise, in the words of the parser.
    """
    if not text:
        raise UsageError("the URI is empty: write coap://host/path")
    uri = parse_uri(_with_scheme(text))
    if uri.scheme != "coap":
        raise UsageError(f"there is no transport for {uri.scheme}:// yet: write coap://{uri.authority}/ if UDP will do")
    if is_group(uri) and not may_be_group:
        raise UsageError(f"{uri.host} is the address of a group: write the address of one host")
    return uri


def is_group(uri: CoapUri) -> bool:
    """Return whether *uri* is that of a group."""
    return uri.host_is_literal and Endpoint(host=uri.host.partition("%")[0], port=uri.port).is_multicast


def _with_scheme(text: str) -> str:
    if _WITH_SCHEME.match(text):
        return text
    without_slashes = _WITHOUT_SLASHES.fullmatch(text)
    if without_slashes is not None:
        scheme, rest = without_slashes[1].lower(), without_slashes[2]
        raise UsageError(f"two slashes are missing in {text!r}: write {scheme}://{rest}")
    if text.startswith("//"):
        return "coap:" + text
    if text.startswith("/"):
        raise UsageError(f"there is no host in {text!r}: write coap://host{text}")
    bare = _BARE_IPV6.fullmatch(text)
    if bare is not None:
        address = bare[1].replace("%25", "%").replace("%", "%25")
        raise UsageError(f"the IPv6 address in {text!r} lacks its brackets: write 'coap://[{address}]{bare[2] or '/'}'")
    return "coap://" + text
