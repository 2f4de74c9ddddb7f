"""Message types and codes (:rfc:`7252` sections 3 and 12.1, and the registry of CoAP codes).

Rule 1: there is one :class:`Code` object for each of the 256 octets, so that codes may be compared
with ``is`` as well as ``==``.  Rule 2: a code without a name is still a code; classes are judged by
their number.
"""

from __future__ import annotations

import enum
from typing import ClassVar, final

from trio_coap.wire.patterns import lazy_pattern


class MessageType(enum.IntEnum):
    """The four message types, with their value in the header (:rfc:`7252` section 3)."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


CON = MessageType.CON
NON = MessageType.NON
ACK = MessageType.ACK
RST = MessageType.RST

_NAMES = {
    "Empty": (0, 0),  # RFC 7252 section 4.1
    # RFC 7252 section 12.1.1; FETCH, PATCH and iPATCH: RFC 8132 section 6.
    "GET": (0, 1),
    "POST": (0, 2),
    "PUT": (0, 3),
    "DELETE": (0, 4),
    "FETCH": (0, 5),
    "PATCH": (0, 6),
    "iPATCH": (0, 7),
    # RFC 7252 section 12.1.2; 2.31 and 4.08: RFC 7959; 4.09 and 4.22: RFC 8132; 4.29: RFC 8516; 5.08: RFC 8768.
    "Created": (2, 1),
    "Deleted": (2, 2),
    "Valid": (2, 3),
    "Changed": (2, 4),
    "Content": (2, 5),
    "Continue": (2, 31),
    "Bad Request": (4, 0),
    "Unauthorized": (4, 1),
    "Bad Option": (4, 2),
    "Forbidden": (4, 3),
    "Not Found": (4, 4),
    "Method Not Allowed": (4, 5),
    "Not Acceptable": (4, 6),
    "Request Entity Incomplete": (4, 8),
    "Conflict": (4, 9),
    "Precondition Failed": (4, 12),
    "Request Entity Too Large": (4, 13),
    "Unsupported Content-Format": (4, 15),
    "Unprocessable Entity": (4, 22),
    "Too Many Requests": (4, 29),
    "Internal Server Error": (5, 0),
    "Not Implemented": (5, 1),
    "Bad Gateway": (5, 2),
    "Service Unavailable": (5, 3),
    "Gateway Timeout": (5, 4),
    "Proxying Not Supported": (5, 5),
    "Hop Limit Reached": (5, 8),
    # RFC 8323 section 11.1: signaling, for reliable transports only.
    "CSM": (7, 1),
    "Ping": (7, 2),
    "Pong": (7, 3),
    "Release": (7, 4),
    "Abort": (7, 5),
}
_DOTTED = lazy_pattern(r"([0-7])\.([0-9]{1,2})")


@final
class Code(int):
    """A code octet: three bits of class, five of detail (:rfc:`7252` section 3).

    ``Code(0x45)``, ``Code.CONTENT``, ``Code.of(2, 5)`` and ``Code.parse("2.05")`` are the same object.
    ``str(code)`` is ``"2.05 Content"``.
    """

    __slots__ = ()
    _all: ClassVar[tuple[Code, ...]] = ()
    _names: ClassVar[dict[int, str]] = {(c << 5) | d: name for name, (c, d) in _NAMES.items()}

    EMPTY: ClassVar[Code]
    GET: ClassVar[Code]
    POST: ClassVar[Code]
    PUT: ClassVar[Code]
    DELETE: ClassVar[Code]
    FETCH: ClassVar[Code]
    PATCH: ClassVar[Code]
    IPATCH: ClassVar[Code]
    CREATED: ClassVar[Code]
    DELETED: ClassVar[Code]
    VALID: ClassVar[Code]
    CHANGED: ClassVar[Code]
    CONTENT: ClassVar[Code]
    CONTINUE: ClassVar[Code]
    BAD_REQUEST: ClassVar[Code]
    UNAUTHORIZED: ClassVar[Code]
    BAD_OPTION: ClassVar[Code]
    FORBIDDEN: ClassVar[Code]
    NOT_FOUND: ClassVar[Code]
    METHOD_NOT_ALLOWED: ClassVar[Code]
    NOT_ACCEPTABLE: ClassVar[Code]
    REQUEST_ENTITY_INCOMPLETE: ClassVar[Code]
    CONFLICT: ClassVar[Code]
    PRECONDITION_FAILED: ClassVar[Code]
    REQUEST_ENTITY_TOO_LARGE: ClassVar[Code]
    UNSUPPORTED_CONTENT_FORMAT: ClassVar[Code]
    UNPROCESSABLE_ENTITY: ClassVar[Code]
    TOO_MANY_REQUESTS: ClassVar[Code]
    INTERNAL_SERVER_ERROR: ClassVar[Code]
    NOT_IMPLEMENTED: ClassVar[Code]
    BAD_GATEWAY: ClassVar[Code]
    SERVICE_UNAVAILABLE: ClassVar[Code]
    GATEWAY_TIMEOUT: ClassVar[Code]
    PROXYING_NOT_SUPPORTED: ClassVar[Code]
    HOP_LIMIT_REACHED: ClassVar[Code]
    CSM: ClassVar[Code]
    PING: ClassVar[Code]
    PONG: ClassVar[Code]
    RELEASE: ClassVar[Code]
    ABORT: ClassVar[Code]

    def __new__(cls, octet: int) -> Code:
        """Return the one code object for *octet* (0 to 255)."""
        if not 0 <= octet <= 255:
            raise ValueError(f"a code is one octet, 0 to 255, not {octet}")
        return cls._all[octet]

    @classmethod
    def _make(cls, octet: int) -> Code:
        return int.__new__(cls, octet)

    @classmethod
    def of(cls, class_: int, detail: int) -> Code:
        """Return the code *class_*.*detail* (0 to 7, 0 to 31).

        Raises:
          ValueError: if one of them is out of range.
        """
        if not (0 <= class_ <= 7 and 0 <= detail <= 31):
            raise ValueError(f"a code is c.dd with c from 0 to 7 and dd from 00 to 31, not {class_}.{detail:02}")
        return cls._all[(class_ << 5) | detail]

    @classmethod
    def parse(cls, text: str) -> Code:
        """Return the code that *text* names: ``"2.05"``, or a name such as ``"GET"`` or ``"not found"``.

        Raises:
          ValueError: if it names none.
        """
        match = _DOTTED.fullmatch(text.strip())
        if match is not None:
            return cls.of(int(match[1]), int(match[2]))
        wanted = _plain(text)
        for octet, name in cls._names.items():
            if _plain(name) == wanted:
                return cls._all[octet]
        raise ValueError(f"{text!r} is neither a code like '2.05' nor the name of one")

    @property
    def class_(self) -> int:
        """The class: 0 for requests, 2, 4 and 5 for responses, 7 for signaling."""
        return self >> 5

    @property
    def detail(self) -> int:
        """The detail, 0 to 31."""
        return self & 31

    @property
    def dotted(self) -> str:
        """The code as RFCs write it: ``"4.04"``."""
        return f"{self >> 5}.{self & 31:02}"

    @property
    def name(self) -> str:
        """The registered name (``"Not Found"``), or the empty string if there is none."""
        return self._names.get(int(self), "")

    @property
    def is_request(self) -> bool:
        """True for methods, known or not: 0.01 to 0.31."""
        return 1 <= self <= 31

    @property
    def is_response(self) -> bool:
        """True for response codes, known or not: class 2, 4 or 5."""
        return (self >> 5) in (2, 4, 5)

    @property
    def is_success(self) -> bool:
        """True for class 2."""
        return (self >> 5) == 2

    @property
    def is_reserved(self) -> bool:
        """True for the classes 1, 6 and 7, which have no meaning over datagrams (:rfc:`7252` section 4.2).

        Class 3 is not among them: it is for responses, and no code of it is assigned (section 12.1.2).
        """
        return (self >> 5) in (1, 6, 7)

    def __str__(self) -> str:
        return f"{self.dotted} {self.name}".rstrip()

    def __repr__(self) -> str:
        return f"<Code {self}>"

    def __reduce__(self) -> tuple[type[Code], tuple[int]]:
        return Code, (int(self),)


def _plain(name: str) -> str:
    return name.replace(" ", "").replace("_", "").replace("-", "").lower()


Code._all = tuple(Code._make(octet) for octet in range(256))
for _name, (_class, _detail) in _NAMES.items():
    setattr(Code, _name.replace(" ", "_").replace("-", "_").upper(), Code.of(_class, _detail))

CODES = Code._all
"""All 256 codes, by octet: the quickest way from an octet to its code."""
