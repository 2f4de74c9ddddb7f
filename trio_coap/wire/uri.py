"""CoAP URIs (:rfc:`7252` section 6, :rfc:`8323` section 8) and URI references (:rfc:`3986` section 5).

Rule 1: percent-encoding is undone once, on the way into a :class:`CoapUri`, and done once, on the way
out (:rfc:`7252` section 6, implementation note).  Rule 2: every CoapUri can be written as a URI, and
reading that URI gives an equal CoapUri; what could not be written is refused when the value is made.
Rule 3: this module knows no options: whether a host becomes a Uri-Host, or a port a Uri-Port, depends
on the destination of the request, which is not known here (section 6.4 steps 5 and 7).
"""

from __future__ import annotations

import re
import socket
import string
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, final
from urllib.parse import quote, unquote_to_bytes

import attrs

from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.patterns import lazy_pattern

MAX_COMPONENT_LENGTH = 255
"""Octets in a host, path segment or query argument: the limit of their options (:rfc:`7252` section 5.10)."""

MAX_SHOWN_LENGTH = 80
"""Characters of the offending text that an error repeats: a Proxy-Uri from the network may be long."""

_SUB_DELIMS = "!$&'()*+,;="
_SEGMENT_SAFE = _SUB_DELIMS + ":@"
# Section 6.5 step 8. The last example of Appendix B has %2F where this leaves "/"; both mean the same.
_QUERY_SAFE = _SUB_DELIMS.replace("&", "") + ":@/?"

_REFERENCE = lazy_pattern(  # RFC 3986 appendix B, with the grammar of section 3.1 for the scheme
    r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL
)
_AUTHORITY = lazy_pattern(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?")
_FORBIDDEN = lazy_pattern(r'[\x00-\x20"<>\\^`{|}\x7f-\x9f]')  # in no URI, nor (C1 controls) in an IRI
_BRACKET = lazy_pattern(r"[\[\]]")
_BAD_PERCENT = lazy_pattern(r"%(?![0-9A-Fa-f]{2})")
_NON_ASCII = lazy_pattern(r"[^\x00-\x7f]+")
_REG_NAME = lazy_pattern(r"[A-Za-z0-9._~!$&'()*+,;=\u00a0-\U0010ffff-]+")
_DECIMAL_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4_ADDRESS = lazy_pattern(rf"{_DECIMAL_OCTET}(?:\.{_DECIMAL_OCTET}){{3}}")  # RFC 3986 section 3.2.2
_LEADING_DOTS = lazy_pattern(r"\A(?:\.\.?/)+")
_ZONE = lazy_pattern(r"[^\x00-\x20\x7f-\x9f%/\[\]]+")
_ASCII_LOWER_CASE = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class UriError(LocalProtocolError, ValueError):
    """A text is not a CoAP URI, or the parts of a CoAP URI cannot be written as one."""


@attrs.frozen
class Scheme:
    """What a URI scheme says about the way to the server; *tcp* and *ws* run over TLS if it is secure."""

    name: str
    default_port: int
    transport: Literal["udp", "dtls", "tcp", "ws"]
    is_secure: bool


_SCHEME_TABLE = (
    Scheme("coap", 5683, "udp", False),  # RFC 7252 section 6.1
    Scheme("coaps", 5684, "dtls", True),  # RFC 7252 section 6.2
    Scheme("coap+tcp", 5683, "tcp", False),  # RFC 8323 section 8.1
    Scheme("coaps+tcp", 5684, "tcp", True),  # RFC 8323 section 8.2
    Scheme("coap+ws", 80, "ws", False),  # RFC 8323 section 8.3
    Scheme("coaps+ws", 443, "ws", True),  # RFC 8323 section 8.4
)

SCHEMES: Mapping[str, Scheme] = MappingProxyType({scheme.name: scheme for scheme in _SCHEME_TABLE})
"""The schemes of CoAP, by name."""


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN_LENGTH else text[: MAX_SHOWN_LENGTH - 3] + "...")


def _check_length(what: str, text: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError as exc:
        raise UriError(f"{what} {_shown(text)} has a lone surrogate: expected text that UTF-8 can encode") from exc
    if length > MAX_COMPONENT_LENGTH:
        raise UriError(f"{what} {_shown(text)} has {length} octets: shorten it to {MAX_COMPONENT_LENGTH} at most")


def _normal_scheme(scheme: str) -> str:
    name = scheme.translate(_ASCII_LOWER_CASE)
    if name not in SCHEMES:
        raise UriError(f"unknown scheme {_shown(scheme)}: expected {', '.join(SCHEMES)}; write coap://host/path")
    return name


def _normal_ip_literal(text: str) -> str:
    address, percent, zone = text.partition("%")
    try:
        packed = socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError) as exc:
        raise UriError(f"{_shown(address)} is not an IPv6 address: expected one such as 2001:db8::1") from exc
    if percent and not _ZONE.fullmatch(zone):
        raise UriError(f"no usable zone identifier in {_shown(text)}: expected one, as in [fe80::1%25eth0]")
    _check_length("host", text)
    return socket.inet_ntop(socket.AF_INET6, packed) + percent + zone  # RFC 5952; zones are case-sensitive


def _normal_reg_name(name: str) -> str:
    # Section 6.5 step 2 fails for a Uri-Host that is no reg-name; refusing it already here keeps a
    # percent-encoded "/", "@" or ":" from making one host look like another.
    if not _REG_NAME.fullmatch(name):
        raise UriError(f"{_shown(name)} is not a host: expected a name, an IPv4 address or an [IPv6] address")
    _check_length("host", name)
    return name.translate(_ASCII_LOWER_CASE)


def _normal_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        return _normal_ip_literal(host[1:-1])
    return _normal_ip_literal(host) if ":" in host else _normal_reg_name(host)


def _checked_port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise UriError(f"port {port} is out of range: expected 1 to 65535")
    return port


def _checked_components(what: str, components: Iterable[str]) -> tuple[str, ...]:
    if isinstance(components, str):
        raise UriError(f"the {what}s are one text, {_shown(components)}: expected a tuple of texts")
    checked = tuple(components)
    for component in checked:
        _check_length(what, component)
    return checked


def _checked_path(segments: Iterable[str]) -> tuple[str, ...]:
    path = _checked_components("path segment", segments)
    for segment in path:
        if segment in (".", ".."):
            raise UriError(f"path segment {segment!r} cannot be in a request (RFC 7252 section 5.10.1): resolve it")
    # One empty segment alone is written "/", and so is no segment at all (section 6.4 step 8).
    return () if path == ("",) else path


def _checked_query(arguments: Iterable[str]) -> tuple[str, ...]:
    return _checked_components("query argument", arguments)


@final
@attrs.frozen
class CoapUri:
    """A CoAP URI in its parts, decoded and in normal form (:rfc:`7252` section 6.3).

    Two URIs are equivalent exactly if their CoapUri values are equal. Making one raises UriError if a
    part cannot be in a CoAP URI.
    """

    scheme: str = attrs.field(converter=_normal_scheme)
    """One of :data:`SCHEMES`, in lower case."""
    host: str = attrs.field(converter=_normal_host)
    """A name, decoded and in lower case; an IPv4 address; or an IPv6 address without brackets, in the
    form of :rfc:`5952`, with its zone identifier as in ``fe80::1%eth0``."""
    port: int = attrs.field(converter=_checked_port)
    """From 1 to 65535; the scheme's default if the URI names none."""
    path: tuple[str, ...] = attrs.field(default=(), converter=_checked_path)
    """The values of the Uri-Path options. A trailing slash is an empty last segment."""
    query: tuple[str, ...] = attrs.field(default=(), converter=_checked_query)
    """The values of the Uri-Query options. A question mark with nothing after it is one empty argument."""

    @property
    def default_port(self) -> int:
        """The port that need not be written with this scheme."""
        return SCHEMES[self.scheme].default_port

    @property
    def is_secure(self) -> bool:
        """Whether the scheme demands DTLS or TLS."""
        return SCHEMES[self.scheme].is_secure

    @property
    def host_is_literal(self) -> bool:
        """Whether the host is an IP address: no resolver, and no Uri-Host (section 6.4 step 5)."""
        return ":" in self.host or _IPV4_ADDRESS.fullmatch(self.host) is not None

    @property
    def authority(self) -> str:
        """``host`` or ``host:port`` as a URI has it; the default port is left out."""
        if ":" in self.host:
            address, percent, zone = self.host.partition("%")
            # RFC 9844 obsoletes RFC 6874, with no new syntax: its form is the one that fits RFC 3986.
            host = f"[{address}%25{quote(zone, safe='')}]" if percent else f"[{address}]"
        else:
            host = quote(self.host, safe=_SUB_DELIMS)
        return host if self.port == self.default_port else f"{host}:{self.port}"

    def unparse(self) -> str:
        """Write the URI in normal form (:rfc:`7252` section 6.5)."""
        path = "/".join(quote(segment, safe=_SEGMENT_SAFE) for segment in self.path)
        query = "&".join(quote(argument, safe=_QUERY_SAFE) for argument in self.query)
        return f"{self.scheme}://{self.authority}/{path}{'?' if self.query else ''}{query}"

    def __str__(self) -> str:
        return self.unparse()


def parse_uri(uri: str) -> CoapUri:
    """Take a CoAP URI apart (:rfc:`7252` section 6.4).

    >>> parse_uri("coap://[2001:DB8::1]:61616/sensors/temp?unit=K").path
    ('sensors', 'temp')

    Args:
      uri: an absolute URI with a scheme from :data:`SCHEMES`. Non-ASCII characters are taken for their
        UTF-8 percent-encoding (:rfc:`3987` section 3.1). The zone of an IPv6 address may be written
        ``%25eth0`` (:rfc:`6874`) or ``%eth0``; after ``%25`` the former is meant.

    Returns:
      The parts, decoded and in normal form.

    Raises:
      UriError: if *uri* is not such a URI; the text says what to write instead.
    """
    parts = _split(_to_ascii(uri))
    if parts.scheme is None:
        raise UriError(f"no scheme in {_shown(uri)}: expected an absolute URI; write coap://host/path")
    scheme = _normal_scheme(parts.scheme)
    if parts.fragment is not None:
        raise UriError(f"fragment in {_shown(uri)}: a request has none; leave it out, or write %23 for a '#'")
    if not parts.authority:
        raise UriError(f"no host in {_shown(uri)}: write {scheme}://host/path")
    host, port = _parse_authority(parts.authority, SCHEMES[scheme].default_port)
    if bracket := _BRACKET.search(f"{parts.path}?{parts.query or ''}"):
        raise _forbidden_character(bracket)
    return CoapUri(scheme, host, port, _parse_path(parts.path), _parse_query(parts.query))


def compose_uri(
    scheme: str, host: str, port: int | None = None, path: Iterable[str] = (), query: Iterable[str] = ()
) -> str:
    """Put a CoAP URI together (:rfc:`7252` section 6.5).

    >>> compose_uri("coap", "example.net", 5683, [".well-known", "core"], ["rt=temperature sensor"])
    'coap://example.net/.well-known/core?rt=temperature%20sensor'

    Args:
      scheme: one of :data:`SCHEMES`.
      host: a name or an IP address, not percent-encoded; an IPv6 address with or without brackets.
      port: the port; the default of the scheme if None.
      path: the values of the Uri-Path options.
      query: the values of the Uri-Query options.

    Returns:
      The URI in normal form: ASCII only, with the default port left out.

    Raises:
      UriError: if a part cannot be in a CoAP URI.
    """
    if port is None:
        port = SCHEMES[_normal_scheme(scheme)].default_port
    return CoapUri(scheme, host, port, path, query).unparse()


def resolve_reference(base: str, reference: str) -> str:
    """Resolve a URI reference, with the strict algorithm of :rfc:`3986` section 5.2.

    Args:
      base: an absolute URI of any scheme; its fragment does not matter.
      reference: a URI or a relative reference, such as the target of a link.

    Returns:
      The target URI. Only dot segments are changed; neither text is checked further, nor normalized.

    Raises:
      UriError: if *base* has no scheme.
    """
    origin = _split(base)
    if origin.scheme is None:
        raise UriError(f"no scheme in the base {_shown(base)}: expected an absolute URI; write coap://host/path")
    return _transform(origin, _split(reference)).unparse()


def remove_dot_segments(path: str) -> str:
    """Take the ``.`` and ``..`` segments out of a URI's path (:rfc:`3986` section 5.2.4)."""
    path = _LEADING_DOTS.sub("", path)
    if path in (".", ".."):
        return ""
    # Each piece is a segment with the slash before it; only the first may be without.
    output: list[str] = []
    for piece in re.findall(r"/[^/]*|[^/]+", path):
        if piece == "/..":
            del output[-1:]
        elif piece != "/.":
            output.append(piece)
    return "".join(output) + ("/" if path.endswith(("/.", "/..")) else "")


@final
class _Reference:
    """The five components of a URI reference; None is *undefined*, which is not *empty*."""

    __slots__ = ("authority", "fragment", "path", "query", "scheme")

    def __init__(
        self, scheme: str | None, authority: str | None, path: str, query: str | None, fragment: str | None
    ) -> None:
        self.scheme = scheme
        self.authority = authority
        self.path = path
        self.query = query
        self.fragment = fragment

    def unparse(self) -> str:
        """Put the components of a URI, which has a scheme, together (:rfc:`3986` section 5.3)."""
        text = f"{self.scheme}:" + ("" if self.authority is None else f"//{self.authority}")
        if self.authority is None and self.path.startswith("//"):
            text += "/."  # or the path would be read as an authority (RFC 3986 section 3.3)
        text += self.path + ("" if self.query is None else f"?{self.query}")
        return text + ("" if self.fragment is None else f"#{self.fragment}")


def _split(text: str) -> _Reference:
    match = _REFERENCE.match(text)
    assert match is not None  # every part is optional
    return _Reference(*match.groups())


def _transform(base: _Reference, reference: _Reference) -> _Reference:
    """Find the target of *reference* (:rfc:`3986` section 5.2.2)."""
    query, fragment = reference.query, reference.fragment
    if reference.scheme is not None:
        path = remove_dot_segments(reference.path)
        return _Reference(reference.scheme, reference.authority, path, query, fragment)
    if reference.authority is not None:
        path = remove_dot_segments(reference.path)
        return _Reference(base.scheme, reference.authority, path, query, fragment)
    if not reference.path:
        query = base.query if query is None else query
        return _Reference(base.scheme, base.authority, base.path, query, fragment)
    path = reference.path
    if not path.startswith("/"):  # section 5.2.3
        folder = "/" if base.authority is not None and not base.path else base.path[: base.path.rfind("/") + 1]
        path = folder + path
    return _Reference(base.scheme, base.authority, remove_dot_segments(path), query, fragment)


def _forbidden_character(match: re.Match[str]) -> UriError:
    return UriError(f"{match[0]!r} in {_shown(match.string)} cannot stand in a URI: write {quote(match[0])}")


def _to_ascii(iri: str) -> str:
    """Convert an IRI to a URI (:rfc:`3987` section 3.1) and refuse what is neither."""
    if match := _FORBIDDEN.search(iri):
        raise _forbidden_character(match)
    try:
        return _NON_ASCII.sub(lambda match: quote(match[0]), iri)
    except UnicodeEncodeError as exc:
        raise UriError(f"{_shown(iri)} has a lone surrogate: expected text that UTF-8 can encode") from exc


def _percent_decode(what: str, text: str) -> str:
    if bad := _BAD_PERCENT.search(text):
        seen = text[bad.start() : bad.start() + 3]
        raise UriError(f"{seen!r} in {what} {_shown(text)}: expected two hexadecimal digits; write %25 for a '%'")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as exc:
        raise UriError(f"{what} {_shown(text)} is not UTF-8 when percent-decoded: encode its text as UTF-8") from exc


def _parse_authority(authority: str, default_port: int) -> tuple[str, int]:
    if "@" in authority:  # what stands before it may be a password: it is not repeated
        raise UriError("user information before '@' in the URI: a CoAP URI has none; write coap://host/path")
    if "[" not in authority and authority.count(":") > 1:
        raise UriError(f"IPv6 address without brackets in {_shown(authority)}: write [2001:db8::1]:port")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise UriError(f"misplaced bracket in {_shown(authority)}: write [2001:db8::1] or [2001:db8::1]:port")
    host, port = match[1], match[2] or ""
    if not host:
        raise UriError(f"no host before the port in {_shown(authority)}: write coap://host:port/path")
    # No digits at all mean the default (section 6.1); leading zeros are allowed by RFC 3986 section 3.2.3.
    if port.strip(string.digits) or len(port.lstrip("0")) > 5:
        raise UriError(f"{_shown(port)} is not a port: expected a number from 1 to 65535")
    return _parse_host(host), int(port[-5:]) if port else default_port


def _parse_host(host: str) -> str:
    if not host.startswith("["):
        return _normal_reg_name(_percent_decode("host", host))
    if host[1] in "vV":
        raise UriError(f"{_shown(host)} is an address of a future IP version: expected IPv6, such as [2001:db8::1]")
    address, percent, zone = host[1:-1].partition("%")
    return f"[{address}{percent}{_percent_decode('zone identifier', zone.removeprefix('25'))}]"


def _parse_path(path: str) -> tuple[str, ...]:
    # "%2E" is ".", wherever it stands (RFC 3986 section 6.2.2.2), and no Uri-Path may be "." or "..".
    path = remove_dot_segments(path.replace("%2E", ".").replace("%2e", "."))
    return () if path in ("", "/") else tuple(_percent_decode("path segment", part) for part in path[1:].split("/"))


def _parse_query(query: str | None) -> tuple[str, ...]:
    return () if query is None else tuple(_percent_decode("query argument", part) for part in query.split("&"))
