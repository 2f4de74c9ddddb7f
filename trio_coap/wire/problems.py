"""Concise problem details: what is wrong, for programs and for people (:rfc:`9290`).

Rule 1: what we write is checked, and always the same octets for the same value; what we read is taken as it comes: an
entry of the wrong type counts as absent, and one that is not known is kept in :attr:`ProblemDetails.extensions`.  Rule 2:
whatever the octets, out come problem details or a :class:`PayloadFormatError`.  Rule 3: the CBOR is cbor2's, which the
extra ``cbor`` brings; it is imported when the first octet is written or read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Self, TypeGuard, final

import attrs

from trio_coap.wire.codes import Code
from trio_coap.wire.errors import LocalProtocolError, MissingExtra, PayloadFormatError, shorten

MAX_OCTETS = 16 * 1024
"""Octets of problem details that are read: they are to be concise, and decoding costs many times their size."""

MAX_DEPTH = 32
"""How deep items may be nested: what is read is copied, compared and shown by functions that call themselves."""

MAX_BIGNUM = 64
"""Octets of a bignum: Python refuses to show integers that are much larger."""

_TEXT_WITH_LANGUAGE = 38
"""The tag of a text with its language (appendix A)."""

_BIGNUMS = frozenset({2, 3})
_REFUSED_TAGS = frozenset({28, 29, 35, 36})
"""Shared values, which may contain themselves; regular expressions and MIME messages, which are parsed further."""

_TITLE, _DETAIL, _INSTANCE, _RESPONSE_CODE, _BASE_URI, _BASE_LANG, _BASE_RTL, _UNPROCESSED = range(-1, -9, -1)
_NAMED = range(-8, 0)
_INDEFINITE = -1

Extensions = Mapping[int | str, object]


@final
class TaggedText(str):
    """A text that says in which language it is (:rfc:`9290` appendix A); it may stand wherever a text may.

    Attributes:
      language: the language tag, such as ``"de"`` or ``"pt-BR"`` (:rfc:`5646`).
      is_rtl: whether it runs from right to left; None if that is not said, or left to who shows it.
    """

    language: str
    is_rtl: bool | None

    def __new__(cls, text: str, language: str = "en", is_rtl: bool | None = None) -> Self:
        """Tag *text*."""
        tagged = super().__new__(cls, text)
        tagged.language = language
        tagged.is_rtl = is_rtl
        return tagged


def _to_code(value: int | None) -> Code | None:
    try:
        return None if value is None else Code(value)
    except (ValueError, TypeError) as exc:
        raise LocalProtocolError(f"a response code is an octet, not {shorten(value)}") from exc


def _to_numbers(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(numbers)


def _to_extensions(extensions: Extensions) -> Extensions:
    return dict(extensions)


def _check_text(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise LocalProtocolError(f"the {attribute.name} of a problem is a text, not {shorten(value)}")


def _check_direction(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in (None, True, False):
        raise LocalProtocolError(f"the direction of a text is True, False or None, not {shorten(value)}")


def _check_numbers(instance: object, attribute: object, numbers: tuple[object, ...]) -> None:
    for number in numbers:
        if not _is_number(number):
            raise LocalProtocolError(f"an unprocessed option is told by its number, not as {shorten(number)}")


def _check_extensions(instance: object, attribute: object, extensions: Extensions) -> None:
    for key, value in extensions.items():
        if isinstance(key, bool) or not isinstance(key, (int, str)):
            raise LocalProtocolError(f"the key of an extension is a number or a URI, not {shorten(key)}")
        if key in _NAMED:
            raise LocalProtocolError(f"the key {key} has a field of its own")
        if (isinstance(key, str) or key >= 0) and not (isinstance(value, Mapping) and value):
            raise LocalProtocolError(f"the custom entry {shorten(key)} is a map with something in it: {shorten(value)}")


@final
@attrs.frozen(str=False)
class ProblemDetails:
    """What is wrong with a request (:rfc:`9290` section 2).

    >>> problem = ProblemDetails(title="Out of range", detail="97 °C is more than the boiler bears")
    >>> print(problem)
    Out of range: 97 °C is more than the boiler bears

    An error carries them: ``raise BadRequest(problem=problem)``; at the client they are ``error.problem``.

    Raises:
      LocalProtocolError: for a field of the wrong type.
    """

    title: str | None = attrs.field(default=None, validator=_check_text)
    """What kind of problem it is, in a few words; the same for all problems of this kind."""

    detail: str | None = attrs.field(default=None, validator=_check_text)
    """What is wrong this time, for a human reader."""

    instance: str | None = attrs.field(default=None, validator=_check_text)
    """A URI reference that stands for this one occurrence."""

    response_code: Code | None = attrs.field(default=None, converter=_to_code)
    """The code of the response, for who gets to see the details without it; advisory."""

    base_uri: str | None = attrs.field(default=None, validator=_check_text)
    """What relative references in here are relative to; by default the URI of the request."""

    base_lang: str | None = attrs.field(default=None, validator=_check_text)
    """The language tag of the texts that are not a :class:`TaggedText`; English by default."""

    base_rtl: bool | None = attrs.field(default=None, validator=_check_direction)
    """Whether these texts run from right to left."""

    unprocessed_options: tuple[int, ...] = attrs.field(default=(), converter=_to_numbers, validator=_check_numbers)
    """Numbers of options in the request that could not be processed (section 3.1.1)."""

    extensions: Extensions = attrs.field(factory=dict, converter=_to_extensions, validator=_check_extensions)
    """Further entries by key (section 3): custom ones, each a map, under their URI or an unsigned number; standard ones
    that have no field here under a negative number.  Consumers ignore what they do not know."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in here: then it cannot be sent."""
        return self == _NOTHING

    def encode(self) -> bytes:
        """Return the CBOR, deterministically encoded.

        Raises:
          LocalProtocolError: if there is nothing to say, or a value has no form in CBOR.
          MissingExtra: if cbor2 is not installed.
        """
        cbor2 = _import_cbor2()
        entries: dict[int | str, object] = {
            _TITLE: _to_item(self.title),
            _DETAIL: _to_item(self.detail),
            _INSTANCE: self.instance,
            _RESPONSE_CODE: None if self.response_code is None else int(self.response_code),
            _BASE_URI: self.base_uri,
            _BASE_LANG: self.base_lang,
            _BASE_RTL: self.base_rtl,
            _UNPROCESSED: _one_or_more(self.unprocessed_options),
        }
        entries = {key: item for key, item in entries.items() if item is not None}
        if not entries and not self.extensions:
            raise LocalProtocolError("problem details without any entry are none (RFC 9290 section 2)")
        try:
            encoded: bytes = cbor2.dumps({**entries, **self.extensions}, canonical=True)
        except (cbor2.CBOREncodeError, ValueError, TypeError, OverflowError, RecursionError) as exc:
            raise LocalProtocolError(f"the problem details have no form in CBOR: {exc}") from exc
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> ProblemDetails:
        """Return the problem details in *data*, a payload of Content-Format 257.

        Raises:
          PayloadFormatError: if there are none in it; this is a ValueError, too.
          MissingExtra: if cbor2 is not installed.
        """
        return decode_problem_untrusted(data)

    def __str__(self) -> str:
        said = [text for text in (self.title, self.detail) if text]
        if not said and self.unprocessed_options:
            said.append(f"unprocessed options {', '.join(map(str, self.unprocessed_options))}")
        return ": ".join(said)


_NOTHING = ProblemDetails()


def decode_problem_untrusted(data: bytes) -> ProblemDetails:
    """Decode problem details; see :meth:`ProblemDetails.decode`."""
    cbor2 = _import_cbor2()
    if len(data) > MAX_OCTETS:
        raise PayloadFormatError(f"the problem details have {len(data)} octets; at most {MAX_OCTETS} are read")
    try:
        _check_structure(data)
        entries = cbor2.loads(data)
    except Exception as exc:  # Tags are read by whatever the library reads them with.
        raise PayloadFormatError(f"the problem details of {len(data)} octets are not CBOR to be read: {exc}") from exc
    if not isinstance(entries, Mapping) or not entries:
        raise PayloadFormatError("problem details are a map with something in it (RFC 9290 section 2)")
    code = entries.get(_RESPONSE_CODE)
    is_rtl = entries.get(_BASE_RTL)
    return ProblemDetails(
        title=_read_text(entries.get(_TITLE)),
        detail=_read_text(entries.get(_DETAIL)),
        instance=_read_plain(entries.get(_INSTANCE)),
        response_code=Code(code) if _is_number(code) and code <= 0xFF else None,
        base_uri=_read_plain(entries.get(_BASE_URI)),
        base_lang=_read_plain(entries.get(_BASE_LANG)),
        base_rtl=is_rtl if isinstance(is_rtl, bool) else None,
        unprocessed_options=_read_numbers(entries.get(_UNPROCESSED)),
        extensions={key: value for key, value in entries.items() if _is_extension(key, value)},
    )


def _import_cbor2() -> ModuleType:
    try:
        import cbor2
    except ImportError as exc:
        raise MissingExtra("problem details", "cbor") from exc
    return cbor2


def _one_or_more(numbers: tuple[int, ...]) -> object:
    if len(numbers) > 1:
        return list(numbers)
    return numbers[0] if numbers else None  # One number stands for itself (section 3.1.1).


def _to_item(text: str | None) -> object:
    if text is None:
        return None
    # A detail is often the text of another error; what is no UTF-8 in it must not become yet another.
    clean = text.encode("utf-8", errors="backslashreplace").decode()
    if not isinstance(text, TaggedText):
        return clean
    direction = [] if text.is_rtl is None else [text.is_rtl]
    return _import_cbor2().CBORTag(_TEXT_WITH_LANGUAGE, [text.language, clean, *direction])


def _read_text(item: object) -> str | None:
    if getattr(item, "tag", None) != _TEXT_WITH_LANGUAGE:
        return _read_plain(item)
    parts = getattr(item, "value", None)
    if not isinstance(parts, (list, tuple)) or len(parts) < 2 or not all(isinstance(part, str) for part in parts[:2]):
        return None
    is_rtl = parts[2] if len(parts) > 2 and isinstance(parts[2], bool) else None
    return TaggedText(parts[1], parts[0], is_rtl)


def _read_plain(item: object) -> str | None:
    return item if isinstance(item, str) else None


def _is_number(item: object) -> TypeGuard[int]:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


def _read_numbers(item: object) -> tuple[int, ...]:
    items = item if isinstance(item, (list, tuple)) else (item,)
    return tuple([number for number in items if _is_number(number)])


def _is_extension(key: object, value: object) -> bool:
    if isinstance(key, bool) or not isinstance(key, (int, str)) or key in _NAMED:
        return False
    return (isinstance(key, int) and key < 0) or (isinstance(value, Mapping) and bool(value))


def _check_structure(data: bytes) -> None:
    """Pass over one item of CBOR, and raise ValueError for what costs more to decode than it has octets.

    Whether it is well-formed in all else, the library says.
    """
    due = [1]
    """Items that are still to come on each level that is open."""
    at = 0
    tag = None
    while due:
        if due[-1] == 0:
            due.pop()
            continue
        major, argument, at = _read_head(data, at)
        if major == 7 and argument is None:
            if due.pop() != _INDEFINITE:
                raise ValueError("a break stands where there is nothing to end")
            continue
        if due[-1] > 0:
            due[-1] -= 1
        if tag in _BIGNUMS and (argument is None or argument > MAX_BIGNUM):
            raise ValueError(f"a bignum has more than {MAX_BIGNUM} octets")
        tag = argument if major == 6 else None
        if tag in _REFUSED_TAGS:
            raise ValueError(f"tag {tag} is not read here")
        if argument is None:
            due.append(_INDEFINITE)
        elif major in (2, 3):
            at += argument
        elif major in (4, 5, 6):
            due.append(1 if major == 6 else argument * (major - 3))
        if len(due) > MAX_DEPTH:
            raise ValueError(f"items are nested deeper than {MAX_DEPTH}")
    if at != len(data):
        raise ValueError(f"the item ends at octet {at}")


def _read_head(data: bytes, at: int) -> tuple[int, int | None, int]:
    """Return major type, argument (None for an indefinite length, or a break), and where it goes on."""
    if at >= len(data):
        raise ValueError("an item is cut off")
    major, information = data[at] >> 5, data[at] & 31
    at += 1
    if information < 24:
        return major, information, at
    if information == 31 and major not in (0, 1, 6):
        return major, None, at
    if information > 27:
        raise ValueError(f"the additional information {information} is reserved")
    size = 1 << (information - 24)
    return major, int.from_bytes(data[at : at + size], "big"), at + size
