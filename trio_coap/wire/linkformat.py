"""The CoRE Link Format: what a server says about its resources (:rfc:`6690`).

Rule 1: reading is tolerant, as long as it is clear what is meant; writing keeps to the grammar of section 2.
So a :class:`Link` holds whatever was read, and :func:`format_links` refuses what has no place in the grammar.
Rule 2: reading takes time in proportion to the length: every repetition in a pattern is possessive, and nothing
is tried a second time further on.  Rule 3: values are texts without their quotes and escapes; nothing is
percent-decoded (:rfc:`9176` appendix B.4), resolved or converted before somebody asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, final

import attrs

from trio_coap.wire.errors import LocalProtocolError, RemoteProtocolError, shorten
from trio_coap.wire.patterns import lazy_pattern
from trio_coap.wire.uri import resolve_reference

MAX_LENGTH: Final = 1 << 20
"""Octets that :func:`parse_links` takes if not told otherwise: more than 20,000 links of the usual kind.  An octet
becomes up to 70 octets of objects, so a hostile server can fill some 70 MB."""

MAX_FILTERS: Final = 16
"""Filters in one query: each is compared with every link, and one datagram could bring hundreds."""

_SHOWN_LENGTH = 20  # characters of the text at a fault that an error repeats

AttributeValues = str | None | Iterable[str | None]
"""What may be given for an attribute: one value, several, or None for an attribute without a value."""


class LinkFormatError(RemoteProtocolError, ValueError):
    """A peer's text is not in link format, or its query has no usable filter.

    Attributes:
      reason: what was seen and what was expected.
      offset: where, in octets (of UTF-8) from the start of the text or of the filter.
    """

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason, offset)
        self.reason = reason
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.reason}, at octet {self.offset}"


class LinkError(LocalProtocolError, ValueError):
    """A link cannot be written in link format, or a query is not a list of filters."""


def _frozen_attributes(attributes: Mapping[str, AttributeValues]) -> Mapping[str, tuple[str | None, ...]]:
    listed = {name: (v,) if v is None or isinstance(v, str) else tuple(v) for name, v in attributes.items()}
    return MappingProxyType({name: values for name, values in listed.items() if values})


_ITEM = lazy_pattern(r"[^ \t\r\n]++")
_NUMBER = lazy_pattern(r"[0-9]{1,19}+")  # what 64 bits hold; more is nonsense, and slow to convert


@final
@attrs.frozen
class Link:
    """A link to a resource, with what is said about it (:rfc:`6690` sections 2 and 3).

    Links are equal if their targets and the values of each attribute are; the order of the attributes does not matter.

    >>> link = Link("/temp", {"rt": "temperature-c core.s", "ct": "0 60", "obs": None})
    >>> link.rt, link.ct, link.is_observable
    (('temperature-c', 'core.s'), ('0', '60'), True)
    """

    target: str
    """The URI reference between ``<`` and ``>``, as it was written; see :func:`resolve_target`."""
    attributes: Mapping[str, tuple[str | None, ...]] = attrs.field(
        factory=dict, converter=_frozen_attributes, eq=lambda attributes: frozenset(attributes.items())
    )
    """The values of each attribute by its name, in the order of their first occurrence; read-only.  The value None is
    an attribute without one, such as ``obs``.  To make a link, one value may be given without its tuple."""

    def get(self, name: str) -> str | None:
        """Return the first value of the attribute *name*; None if there is none, or it has no value."""
        return self.attributes.get(name, (None,))[0]

    def items_of(self, name: str) -> tuple[str, ...]:
        """Return the space-separated items in all values of the attribute *name*."""
        return tuple([item for value in self.attributes.get(name, ()) for item in _ITEM.findall(value or "")])

    @property
    def rt(self) -> tuple[str, ...]:
        """The resource types (section 3.1)."""
        return self.items_of("rt")

    @property
    def interface(self) -> tuple[str, ...]:
        """The interface descriptions, attribute ``if`` (section 3.2)."""
        return self.items_of("if")

    if_ = interface

    @property
    def ct(self) -> tuple[str, ...]:
        """The content formats (:rfc:`7252` section 7.2.1), as the texts that they are in the link."""
        return self.items_of("ct")

    @property
    def sz(self) -> int | None:
        """The estimated maximum size in octets (section 3.3); None if it is not given, or not a number."""
        text = self.get("sz") or ""
        return int(text) if _NUMBER.fullmatch(text) else None

    @property
    def title(self) -> str | None:
        """The title, for people to read; further ones do not count (:rfc:`8288` section 3.4.1)."""
        return self.get("title")

    @property
    def rel(self) -> tuple[str, ...]:
        """The relation types; ``hosts`` if the link names none (section 2.2)."""
        return tuple(_ITEM.findall(self.get("rel") or "")) or ("hosts",)

    @property
    def anchor(self) -> str | None:
        """The URI reference of the context of the link (section 2.1); None if it is not given."""
        return self.get("anchor")

    @property
    def is_observable(self) -> bool:
        """Whether observing the resource is useful; a value of ``obs`` is ignored (:rfc:`7641` section 6)."""
        return "obs" in self.attributes


def resolve_target(link: Link, base_uri: str) -> str:
    """Find the URI that a link points to (:rfc:`6690` section 2.1).

    Unlike in the Link header of HTTP, the target is relative to the anchor, and the anchor to the *root* of the
    server that returned the link (:rfc:`9176` appendix B.4).

    >>> resolve_target(Link("temp"), "coap://[2001:db8::1]/.well-known/core")
    'coap://[2001:db8::1]/temp'

    Args:
      link: the link, its target and its anchor being URIs or relative references.
      base_uri: where the links come from; after a multicast request, with the address of the server that answered.

    Returns:
      The URI, not normalized.

    Raises:
      UriError: if *base_uri* has no scheme.
    """
    context = resolve_reference(resolve_reference(base_uri, "/"), link.anchor or "")
    return resolve_reference(context, link.target)


_LIST_ATTRIBUTES = frozenset({"rel", "rev", "rt", "if", "ct"})  # of which each item is a value of its own


def filter_links(links: Iterable[Link], query: Iterable[str]) -> tuple[Link, ...]:
    """Select the links that a query asks for (:rfc:`6690` section 4.1).

    >>> links = parse_links('</1>;rt="Type1 Type2",</2>;rt="Type2"')
    >>> [link.target for link in filter_links(links, ["rt=Type1"])]
    ['/1']

    A filter is ``name=value`` or ``name=prefix*``, compared as it is with what the links say.  The name ``href``
    stands for the target.  Of ``rt``, ``if``, ``ct``, ``rel`` and ``rev`` each item of the list is compared, of others
    the whole value; an attribute without value counts as empty.  So ``obs=*`` selects the links that have it at all,
    and what no link has selects nothing.  Only what is written counts: ``rel=hosts`` selects no link without ``rel``.

    Args:
      links: the links to choose from.
      query: the filters, percent-decoded: the values of the Uri-Query options.  An empty one, left over from a
        ``?`` with nothing after it, asks for nothing.

    Returns:
      The links that meet all filters, in their order.

    Raises:
      LinkFormatError: if there are more than :data:`MAX_FILTERS`, or one has no "=": section 4.1 asks for a name
        *and* a value, and Uri-Query is a critical option, which may not be ignored.
      LinkError: if *query* is one text.
    """
    if isinstance(query, str):
        raise LinkError(f"the query is one text, {shorten(query)}: expected a list of filters")
    selected = tuple(links)
    for count, text in enumerate(filter(None, query), start=1):
        if count > MAX_FILTERS:
            raise LinkFormatError(f"filter {shorten(text)} is one too many: expected {MAX_FILTERS} at most", 0)
        name, equals, value = text.partition("=")
        if not equals:
            end = len(text.encode(errors="replace"))
            raise LinkFormatError(f"no '=' in the filter {shorten(text)}: write name=value or name=*", end)
        selected = tuple([link for link in selected if _matches(link, name, value)])
    return selected


def _matches(link: Link, name: str, value: str) -> bool:
    if name == "href":
        values: tuple[str, ...] = (link.target,)
    elif name in _LIST_ATTRIBUTES and name in link.attributes:
        values = link.items_of(name) or ("",)
    else:
        values = tuple([text or "" for text in link.attributes.get(name, ())])
    if value.endswith("*"):
        return any(text.startswith(value[:-1]) for text in values)
    return value in values


_SPACE = lazy_pattern(r"[ \t\r\n]*+")
_EMPTY_LINKS = lazy_pattern(r"[ \t\r\n,]*+")
_EMPTY_ATTRIBUTES = lazy_pattern(r"[ \t\r\n]*+;[ \t\r\n;]*+")
_TARGET = lazy_pattern(r"<([^>]*+)>")
_NAME = lazy_pattern(r'[^\x00-\x20\x7f=;,"<>\\]++')
_EQUALS = lazy_pattern(r"[ \t\r\n]*+=[ \t\r\n]*+")
_QUOTED_STRING = lazy_pattern(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_UNQUOTED = lazy_pattern(r'(?!")[^;,]*+')
_ESCAPE = lazy_pattern(r"\\(.)", re.DOTALL)


class _Cursor:
    """A text and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read what *pattern* matches right here; None, and nothing read, if it does not."""
        match = pattern.match(self.text, self.position)
        if match:
            self.position = match.end()
        return match

    def is_at(self, characters: str) -> bool:
        """Whether one of *characters* is next, or the end."""
        return self.position == len(self.text) or self.text[self.position] in characters

    def error(self, expected: str) -> LinkFormatError:
        """Return the error that says what is here and what was expected."""
        seen = self.text[self.position : self.position + _SHOWN_LENGTH]
        return LinkFormatError(f"{seen!r}: expected {expected}", len(self.text[: self.position].encode()))


def parse_links(text: str | bytes, *, max_length: int = MAX_LENGTH) -> tuple[Link, ...]:
    """Read a document in link format (:rfc:`6690` section 2).

    Tolerated are white space and line breaks around delimiters, commas and semicolons too many, attributes that
    appear more often than they may, quotes where none belong, and values without them where they are prescribed
    (up to the next comma or semicolon).

    >>> parse_links('</s>;ct=40;title="Sensor Index"')[0].title
    'Sensor Index'

    Args:
      text: the document; octets are read as UTF-8.
      max_length: how many octets (or characters of a str) to take at most.

    Returns:
      The links in their order; none for an empty document.

    Raises:
      LinkFormatError: if it is not clear what is meant, the text is not UTF-8, or too long.
    """
    if len(text) > max_length:
        raise LinkFormatError(f"{len(text)} octets of links: expected {max_length} at most", max_length)
    cursor = _Cursor(_checked_text(text))
    links = []
    cursor.take(_EMPTY_LINKS)
    while not cursor.is_at(""):
        links.append(_parse_link(cursor))
        cursor.take(_EMPTY_LINKS)
    return tuple(links)


def _checked_text(text: str | bytes) -> str:
    try:
        return text.decode() if isinstance(text, bytes) else text.encode().decode()
    except (UnicodeDecodeError, UnicodeEncodeError) as exc:
        before = exc.object[: exc.start]
        offset = len(before if isinstance(before, bytes) else before.encode())
        seen = shorten(exc.object[exc.start : exc.end])
        raise LinkFormatError(f"{seen}: expected UTF-8 ({exc.reason})", offset) from exc


def _parse_link(cursor: _Cursor) -> Link:
    target = cursor.take(_TARGET)
    if target is None:
        raise cursor.error("a link: '<', a URI reference and '>'")
    attributes: dict[str, list[str | None]] = {}
    while cursor.take(_EMPTY_ATTRIBUTES):
        if cursor.is_at(","):
            break
        name = cursor.take(_NAME)
        if name is None:
            raise cursor.error("the name of an attribute")
        attributes.setdefault(name[0], []).append(_parse_value(cursor) if cursor.take(_EQUALS) else None)
    cursor.take(_SPACE)
    if not cursor.is_at(","):
        raise cursor.error("';' or ','")
    return Link(target[1].strip(" \t\r\n"), attributes)


def _parse_value(cursor: _Cursor) -> str:
    if quoted := cursor.take(_QUOTED_STRING):
        return _ESCAPE.sub(r"\1", quoted[1])
    if unquoted := cursor.take(_UNQUOTED):
        return unquoted[0].rstrip(" \t\r\n")
    raise cursor.error("another quotation mark at the end of the value")


_CONTENT_FORMAT = r"(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9][0-9]|6[0-4][0-9]{3}+|[1-5][0-9]{4}+|[1-9][0-9]{0,3}+|0)"
_CONTENT_FORMATS = lazy_pattern(rf"{_CONTENT_FORMAT}(?: ++{_CONTENT_FORMAT})*+")
_CARDINAL = lazy_pattern(r"0|[1-9][0-9]*+")
_PARAMETER_NAME = lazy_pattern(r"[A-Za-z0-9!#$&+.^_`|~-]++\*?+")  # RFC 5987 section 3.2.1
_REFERENCE = lazy_pattern(r'(?:[^\x00-\x20"<>\\^`{|}\x7f-\x9f%\ud800-\udfff]|%[0-9A-Fa-f]{2}+)*+')
_TO_ESCAPE = lazy_pattern(r'["\\\x00-\x1f\x7f]')  # RFC 2616 section 2.2, where link format has its quoted-string from


@final
class _Rule:
    """How an attribute is written; the form *number* is bare if it is one cardinal, and quoted otherwise."""

    __slots__ = ("expected", "form", "is_single", "needs_value", "pattern")

    def __init__(
        self,
        pattern: re.Pattern[str],
        expected: str,
        form: Literal["quoted", "bare", "number"],
        *,
        is_single: bool = True,
        needs_value: bool = True,
    ) -> None:
        self.pattern = pattern
        self.expected = expected
        self.form = form
        self.is_single = is_single
        self.needs_value = needs_value


# Wider than the grammar's relation-type, a lower-case name or a URI: the ETSI plugtests have rt="Type1 Type2".
_RELATION_TYPES = lazy_pattern(r"[!#-\[\]-~]++(?: ++[!#-\[\]-~]++)*+")
_LANGUAGE = lazy_pattern(r"[A-Za-z0-9]++(?:-[A-Za-z0-9]++)*+")
_CHARSET = r"[A-Za-z0-9!#$%&+^_`{}~-]++"
_EXT_VALUE = lazy_pattern(rf"{_CHARSET}'[A-Za-z0-9-]*+'(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{{2}}+)*+")  # RFC 5987
_TEXT = lazy_pattern(r"[^\ud800-\udfff]*+")

_RELATIONS = _Rule(_RELATION_TYPES, "names or URIs, separated by spaces", "quoted")
_QUOTED = _Rule(_TEXT, "text that UTF-8 can encode", "quoted")
_EXTENSION = _Rule(_TEXT, _QUOTED.expected, "number", is_single=False, needs_value=False)
_EXTENDED = _Rule(_EXT_VALUE, "charset'language'text, the text percent-encoded", "bare", is_single=False)
_RULES: Mapping[str, _Rule] = {
    "rel": _RELATIONS,
    "rev": _Rule(_RELATION_TYPES, _RELATIONS.expected, "quoted", is_single=False),
    "rt": _RELATIONS,
    "if": _RELATIONS,
    "anchor": _Rule(_REFERENCE, "a URI reference", "quoted"),
    "hreflang": _Rule(_LANGUAGE, "a language tag", "bare", is_single=False),
    "media": _QUOTED,
    "title": _QUOTED,
    "title*": _Rule(_EXT_VALUE, _EXTENDED.expected, "bare"),
    "type": _QUOTED,
    "sz": _Rule(_CARDINAL, "a number without leading zeros", "bare"),
    "ct": _Rule(_CONTENT_FORMATS, "numbers from 0 to 65535, separated by spaces", "number"),
    "obs": _Rule(lazy_pattern(r"(?!)"), "no value", "bare", needs_value=False),
}


def format_links(links: Iterable[Link]) -> str:
    """Write links in link format (:rfc:`6690` section 2); reading the text gives equal links.

    >>> format_links([Link("/large", {"title": 'The "large" one', "sz": "1280", "obs": None})])
    '</large>;title="The \\\\"large\\\\" one";sz=1280;obs'

    Raises:
      LinkError: if a target or an attribute does not keep to the grammar, or an attribute is repeated that may not
        be.  Links that a peer wrote may be of that kind: who passes them on tries to write each on arrival.
    """
    return ",".join([_format_link(link) for link in links])


def _format_link(link: Link) -> str:
    if not _REFERENCE.fullmatch(link.target):
        raise LinkError(f"target {shorten(link.target)}: expected a URI reference; percent-encode what cannot be in it")
    parts = [f"<{link.target}>"]
    for name, values in link.attributes.items():
        if not _PARAMETER_NAME.fullmatch(name):
            raise LinkError(f"attribute {shorten(name)} of {shorten(link.target)}: expected a name without delimiters")
        rule = _RULES.get(name) or (_EXTENDED if name.endswith("*") else _EXTENSION)
        if rule.is_single and len(values) > 1:
            raise LinkError(f"attribute {name} of {shorten(link.target)} has {len(values)} values: expected one")
        parts += [_format_attribute(link, name, value, rule) for value in values]
    return ";".join(parts)


def _format_attribute(link: Link, name: str, value: str | None, rule: _Rule) -> str:
    if value is None and not rule.needs_value:
        return name
    if value is None or not rule.pattern.fullmatch(value):
        seen = "no value" if value is None else shorten(value)
        raise LinkError(f"attribute {name} of {shorten(link.target)} has {seen}: expected {rule.expected}")
    if rule.form == "bare" or (rule.form == "number" and _CARDINAL.fullmatch(value)):
        return f"{name}={value}"
    escaped = _TO_ESCAPE.sub(r"\\\g<0>", value)
    return f'{name}="{escaped}"'
