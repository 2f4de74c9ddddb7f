"""The registry of CoAP content formats (:rfc:`7252` section 12.3, :rfc:`9876`).

Rule 1: a content format is a media type with its parameters *and* a content coding; a number always
means both.  Rule 2: numbers without a name are still numbers and pass through unharmed.

The table has every row of IANA's "CoAP Content-Formats" registry as of 2026-07-14: two copies of the
registry that were made independently of each other agree on it.  Rows that IANA marks as temporary are
in it and say so.  Not in it: the reserved numbers (1542 and 1543; 64998 and 64999 for documentation;
65000 to 65535 for experiments), and what was registered later: see :func:`register_content_format`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, final

import attrs

from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.patterns import lazy_pattern

MAX_CONTENT_FORMAT: Final = 0xFFFF
"""The largest number: Content-Format and Accept have two octets (:rfc:`7252` section 5.10.3)."""

TEXT_PLAIN: Final = 0
COSE_ENCRYPT0: Final = 16
COSE_MAC0: Final = 17
COSE_SIGN1: Final = 18
ACE_CBOR: Final = 19
IMAGE_GIF: Final = 21
IMAGE_JPEG: Final = 22
IMAGE_PNG: Final = 23
LINK_FORMAT: Final = 40
XML: Final = 41
OCTET_STREAM: Final = 42
EXI: Final = 47
JSON: Final = 50
JSON_PATCH: Final = 51
MERGE_PATCH: Final = 52
CBOR: Final = 60
CWT: Final = 61
MULTIPART_CORE: Final = 62
CBOR_SEQ: Final = 63
EDHOC_CBOR_SEQ: Final = 64
CID_EDHOC_CBOR_SEQ: Final = 65
COSE_KEY: Final = 101
COSE_KEY_SET: Final = 102
SENML_JSON: Final = 110
SENSML_JSON: Final = 111
SENML_CBOR: Final = 112
SENSML_CBOR: Final = 113
SENML_EXI: Final = 114
SENSML_EXI: Final = 115
COAP_GROUP_JSON: Final = 256
CONCISE_PROBLEM_DETAILS: Final = 257
MISSING_BLOCKS: Final = 272
SENML_XML: Final = 310
SENSML_XML: Final = 311
SENML_ETCH_JSON: Final = 320
SENML_ETCH_CBOR: Final = 322
OSCORE: Final = 10001
LWM2M_TLV: Final = 11542
LWM2M_JSON: Final = 11543
LWM2M_CBOR: Final = 11544

_Row = tuple[int, str] | tuple[int, str, str]

_REGISTRY: tuple[_Row, ...] = (
    (0, "text/plain; charset=utf-8"),  # RFC 2046, 3676, 5147
    (16, 'application/cose; cose-type="cose-encrypt0"'),  # RFC 9052
    (17, 'application/cose; cose-type="cose-mac0"'),
    (18, 'application/cose; cose-type="cose-sign1"'),
    (19, "application/ace+cbor"),  # RFC 9200
    (21, "image/gif"),
    (22, "image/jpeg"),
    (23, "image/png"),
    (40, "application/link-format"),  # RFC 6690
    (41, "application/xml"),  # RFC 3023
    (42, "application/octet-stream"),  # RFC 2045, 2046
    (47, "application/exi"),  # W3C EXI 1.0
    (50, "application/json"),  # RFC 8259
    (51, "application/json-patch+json"),  # RFC 6902
    (52, "application/merge-patch+json"),  # RFC 7396
    (60, "application/cbor"),  # RFC 8949
    (61, "application/cwt"),  # RFC 8392
    (62, "application/multipart-core"),  # RFC 8710
    (63, "application/cbor-seq"),  # RFC 8742
    (64, "application/edhoc+cbor-seq"),  # RFC 9528
    (65, "application/cid-edhoc+cbor-seq"),
    (96, 'application/cose; cose-type="cose-encrypt"'),  # RFC 9052
    (97, 'application/cose; cose-type="cose-mac"'),
    (98, 'application/cose; cose-type="cose-sign"'),
    (101, "application/cose-key"),
    (102, "application/cose-key-set"),
    (110, "application/senml+json"),  # RFC 8428
    (111, "application/sensml+json"),
    (112, "application/senml+cbor"),
    (113, "application/sensml+cbor"),
    (114, "application/senml-exi"),
    (115, "application/sensml-exi"),
    (140, "application/yang-data+cbor; id=sid"),  # RFC 9254
    (256, "application/coap-group+json"),  # RFC 7390
    (257, "application/concise-problem-details+cbor"),  # RFC 9290
    (258, "application/swid+cbor"),  # RFC 9393
    (259, "application/pkixcmp"),  # RFC 9482, 9811
    (260, "application/yang-sid+json"),  # RFC 9595
    (261, "application/ace-groupcomm+cbor"),  # RFC 9594
    (262, "application/ace-trl+cbor"),  # RFC 9770
    (263, "application/eat+cwt"),  # RFC 9782
    (264, "application/eat+jwt"),
    (265, "application/eat-bun+cbor"),
    (266, "application/eat-bun+json"),
    (267, "application/eat-ucs+cbor"),
    (268, "application/eat-ucs+json"),
    (269, "application/coap-eap"),  # RFC 9820
    (270, "application/suit-report+cose"),  # draft-ietf-suit-report
    (271, "application/dots+cbor"),  # RFC 9132
    (272, "application/missing-blocks+cbor-seq"),  # RFC 9177
    (273, "application/cmw+cbor"),  # draft-ietf-rats-msg-wrap
    (274, "application/cmw+json"),
    (275, "application/cmw+cose"),
    (276, "application/cmw+jws"),
    (277, "application/scitt-statement+cose"),  # RFC 9943
    (278, "application/scitt-receipt+cose"),
    (279, "application/statuslist+cwt"),  # draft-ietf-oauth-status-list
    (280, "application/pkcs7-mime; smime-type=server-generated-key"),  # RFC 9148
    (281, "application/pkcs7-mime; smime-type=certs-only"),
    (284, "application/pkcs8"),
    (285, "application/csrattrs"),
    (286, "application/pkcs10"),
    (287, "application/pkix-cert"),
    (290, "application/aif+cbor"),  # RFC 9237
    (291, "application/aif+json"),
    (292, "application/aif+cbor; toid=CRI-local-part"),  # draft-ietf-core-href
    (293, "application/sd-cwt"),  # draft-ietf-spice-sd-cwt, temporary until 2026-12-08
    (294, "application/kb+cwt"),  # likewise
    (295, "application/measured-component+cbor"),  # draft-ietf-rats-eat-measured-component
    (296, "application/measured-component+json"),
    (297, "application/aif+cbor; toid=oscore-gname; tperm=oscore-gperm"),  # draft-ietf-ace-key-groupcomm-oscore
    (298, "application/aif+json; toid=oscore-gname; tperm=oscore-gperm"),
    (310, "application/senml+xml"),  # RFC 8428
    (311, "application/sensml+xml"),
    (320, "application/senml-etch+json"),  # RFC 8790
    (322, "application/senml-etch+cbor"),
    (340, "application/yang-data+cbor"),  # RFC 9254
    (341, "application/yang-data+cbor; id=name"),
    (432, "application/td+json"),  # W3C Thing Description 1.1
    (433, "application/tm+json"),
    (434, "application/sdf+json"),  # RFC 9880
    (553, "application/dns-message"),  # RFC 8484, 9953
    (601, "application/uccs+cbor"),  # RFC 9781
    (836, "application/voucher+cose"),  # draft-ietf-anima-constrained-voucher, temporary until 2027-04-12
    (10000, "application/vnd.ocf+cbor"),
    (10001, "application/oscore"),  # RFC 8613
    (10002, "application/javascript"),  # RFC 4329
    (10003, 'application/eat+cwt; eat_profile="tag:psacertified.org,2023:psa#tfm"'),  # RFC 9783
    (10004, 'application/eat+cwt; eat_profile="tag:psacertified.org,2019:psa#legacy"'),
    (10005, "application/eat+cwt; eat_profile=2.16.840.1.113741.1.16.1"),  # RFC 9782
    (10006, "application/vnd.oms.cellular-cose-content+cbor"),
    (10007, "application/syslog-msg"),
    (10570, "application/toc+cbor"),  # TCG DICE Concise Evidence Binding for SPDM
    (10571, "application/ce+cbor"),
    (10572, "application/toc+cbor; profile=2.16.840.1.113741.1.16.1"),
    (10573, "application/ce+cbor; profile=2.16.840.1.113741.1.16.1"),
    (11050, "application/json", "deflate"),
    (11060, "application/cbor", "deflate"),
    (11542, "application/vnd.oma.lwm2m+tlv"),  # OMA LightweightM2M 1.0
    (11543, "application/vnd.oma.lwm2m+json"),
    (11544, "application/vnd.oma.lwm2m+cbor"),  # OMA LightweightM2M 1.2
    (12000, "text/plain; charset=utf-8", "zstd"),
    (12041, "application/xml", "zstd"),
    (12050, "application/json", "zstd"),
    (20000, "text/css"),  # RFC 2318
    (20001, "application/vnd.as207960.vas.config+jer"),
    (20002, "application/vnd.as207960.vas.config+uper"),
    (20003, "application/vnd.as207960.vas.tap+jer"),
    (20004, "application/vnd.as207960.vas.tap+uper"),
    (30000, "image/svg+xml"),
)

# Short names that do not follow from the media type; the others are made by _short_names.
_ALIASES = {
    "text": TEXT_PLAIN,
    "plain": TEXT_PLAIN,
    "link": LINK_FORMAT,
    "binary": OCTET_STREAM,
    "json-patch": JSON_PATCH,
    "merge-patch": MERGE_PATCH,
    "multipart": MULTIPART_CORE,
    "problem-details": CONCISE_PROBLEM_DETAILS,
    "cose-encrypt0": COSE_ENCRYPT0,
    "cose-mac0": COSE_MAC0,
    "cose-sign1": COSE_SIGN1,
    "cose-encrypt": 96,
    "cose-mac": 97,
    "cose-sign": 98,
    "lwm2m-tlv": LWM2M_TLV,
    "lwm2m-json": LWM2M_JSON,
    "lwm2m-cbor": LWM2M_CBOR,
    "svg": 30000,
}

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PARAMETER = rf'\s*;\s*({_TOKEN})=("[^"\\\x00-\x1f\x7f]*"|{_TOKEN})'
_MEDIA_TYPE = lazy_pattern(rf"\s*({_TOKEN}/{_TOKEN})((?:{_PARAMETER})*)\s*")


class UnknownContentFormat(LocalProtocolError, LookupError):
    """A text or a number names no content format, or more than one."""


@final
@attrs.frozen
class ContentFormat:
    """One row of the registry."""

    number: int
    """The value of a Content-Format or Accept option, 0 to 65535."""
    media_type: str
    """The media type with its parameters, such as ``text/plain; charset=utf-8``."""
    content_coding: str = ""
    """The content coding, such as ``deflate``; empty for none."""


_formats: dict[int, ContentFormat] = {}
# Keys in lower case, without spaces and quotes: of each (media type with parameters, coding), one number.
_numbers: dict[tuple[str, str], int] = {}
_short: dict[str, int] = dict(_ALIASES)

CONTENT_FORMATS: Mapping[int, ContentFormat] = MappingProxyType(_formats)
"""The registry by number, what the application registered included."""


def register_content_format(number: int, media_type: str, content_coding: str = "") -> ContentFormat:
    """Make a content format known under its media type, for the whole process.

    >>> register_content_format(65432, "application/vnd.my-sensor+cbor").number
    65432

    Args:
      number: 0 to 65535; 65000 to 65535 are for experiments (:rfc:`7252` section 12.3).
      media_type: the media type with its parameters.
      content_coding: the content coding; empty for none.

    Returns:
      The new row, or the row that was there if it is the same.

    Raises:
      LocalProtocolError: if the number or the media type is not well formed, or one of them is taken.
    """
    _check_number(number)
    row = ContentFormat(number, _normal_media_type(media_type), content_coding.lower())
    key = (_lookup_key(row.media_type), row.content_coding)
    known = _formats.get(number)
    if known is not None and (_lookup_key(known.media_type), known.content_coding) != key:
        raise LocalProtocolError(f"content format {number} is taken by {known.media_type}: register another number")
    if _numbers.get(key, number) != number:
        raise LocalProtocolError(f"{row.media_type} has the number {_numbers[key]} already: use that one, not {number}")
    return _enter(row, key)


def _enter(row: ContentFormat, key: tuple[str, str]) -> ContentFormat:
    _numbers[key] = row.number
    if not row.content_coding:
        for name in _short_names(key[0]):
            _short.setdefault(name, row.number)
    return _formats.setdefault(row.number, row)


def content_format_of(name_or_number: str | int, content_coding: str = "") -> int:
    """Find the number of a content format.

    >>> content_format_of("json"), content_format_of("application/senml+cbor"), content_format_of("text/plain")
    (50, 112, 0)

    Args:
      name_or_number: a number (as int or decimal text), registered or not; a media type, with its
        parameters or, where that leaves one candidate, without; or a short name: the subtype
        (``link-format``, ``senml+json``, also ``senml-json``), ``text``, ``binary``, ``lwm2m-tlv`` ...
        The case of letters does not matter.
      content_coding: the content coding that goes with a media type; empty for none.

    Returns:
      The number, 0 to 65535.

    Raises:
      UnknownContentFormat: if nothing or more than one row fits; the text names what comes close.
    """
    if isinstance(name_or_number, int):
        return _check_number(name_or_number)
    name = name_or_number.strip()
    if name.isascii() and name.isdigit():
        return _check_number(int(name.lstrip("0")[:6] or "0"))  # six digits are too many already
    key = _lookup_key(name)
    if key in _short:
        key = _lookup_key(_formats[_short[key]].media_type)
    coding = content_coding.lower()
    number = _numbers.get((key, coding))
    return _number_without_parameters(name, key, coding) if number is None else number


def media_type_of(number: int) -> str | None:
    """The media type of a content format with its parameters, or None if the number is not registered."""
    row = _formats.get(number)
    return None if row is None else row.media_type


def is_text(number: int) -> bool:
    """Whether a payload in this format is text: ``text/*`` without a content coding."""
    return _essence(number).startswith("text/")


def is_json(number: int) -> bool:
    """Whether a payload in this format is one JSON text: ``application/json`` or ``+json``, no content coding."""
    return _essence(number).endswith(("/json", "+json"))


def is_cbor(number: int) -> bool:
    """Whether a payload in this format is one CBOR item: ``application/cbor`` or ``+cbor``, no content coding.

    CBOR sequences (:rfc:`8742`) are not: they may have any number of items.
    """
    return _essence(number).endswith(("/cbor", "+cbor"))


def _essence(number: int) -> str:
    """The media type without parameters in lower case; empty if unknown, or if the octets are coded."""
    row = _formats.get(number)
    return "" if row is None or row.content_coding else row.media_type.partition(";")[0].lower()


def _check_number(number: int) -> int:
    if not 0 <= number <= MAX_CONTENT_FORMAT:
        raise UnknownContentFormat(f"content format {number} is out of range: expected 0 to {MAX_CONTENT_FORMAT}")
    return int(number)


def _normal_media_type(text: str) -> str:
    match = _MEDIA_TYPE.fullmatch(text)
    if match is None:
        raise LocalProtocolError(f"{text[:80]!r} is not a media type: write type/subtype; name=value")
    parameters = re.findall(_PARAMETER, match[2])
    return "; ".join([match[1], *(f"{name}={value}" for name, value in parameters)])


def _lookup_key(name: str) -> str:
    # The values of some parameters are case-sensitive, but no two rows differ in case alone.
    return ";".join(map(str.strip, name.split(";"))).replace('"', "").lower()


def _short_names(key: str) -> list[str]:
    """The subtype, as it is and with a dash for the plus; nothing if there are parameters."""
    subtype = key.partition("/")[2]
    return [] if ";" in key else [subtype, subtype.replace("+", "-")]


def _number_without_parameters(name: str, key: str, content_coding: str) -> int:
    """Find the only row that has this media type with parameters that the caller left out."""
    numbers = [
        number
        for (media_type, coding), number in _numbers.items()
        if coding == content_coding and media_type.partition(";")[0] == key
    ]
    if len(numbers) == 1:
        return numbers[0]
    shown = repr(name[:80])
    if numbers:
        candidates = ", ".join(f"{_formats[number].media_type} ({number})" for number in numbers)
        raise UnknownContentFormat(f"{shown} is ambiguous: write one of {candidates}")
    import difflib  # Only here: it takes longer to import than the rest of this module.

    names = {*_short, *(row.media_type for row in _formats.values())}
    close = " or ".join(difflib.get_close_matches(key[:80], sorted(names), n=3))
    coding = f" in content coding {content_coding!r}" if content_coding else ""
    hint = (
        f"did you mean {close}?" if close else f"write a registered media type or a number up to {MAX_CONTENT_FORMAT}"
    )
    raise UnknownContentFormat(f"unknown content format {shown}{coding}: {hint}")


for _row in _REGISTRY:  # Which is well formed: a test checks it, rather than each process.
    _format = ContentFormat(*_row)
    _enter(_format, (_lookup_key(_format.media_type), _format.content_coding))
