"""The options of one message (:rfc:`7252` sections 3.1, 5.4 and 5.10).

Rule 1: :class:`Options` is a value and never changes; methods return another one.  Rule 2: everything that
came over the wire is kept, in the order of the wire: unknown, over-long and surplus options too.  Rule 3:
typed access shows only what counts; an occurrence that is malformed, or a surplus one, counts as absent
(sections 5.4.3 and 5.4.5), and :attr:`Options.problems` says why.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NoReturn, final

import attrs

from trio_coap.wire.access import Kept, flag, opaque, opaques, several_blocks, single_block, string, strings, uint
from trio_coap.wire.block import Block, read_block
from trio_coap.wire.definitions import (
    DEFINITIONS,
    RESERVED_KEYWORDS,
    WHEN_REGISTERED,
    OptionDefinition,
    OptionFormat,
    OptionValue,
    find_definition,
    is_critical,
    is_no_cache_key,
)
from trio_coap.wire.encoding import Frame, Items, encode_items
from trio_coap.wire.errors import LocalProtocolError, shorten
from trio_coap.wire.recent import Recent

OptionInput = OptionValue | Block | Sequence[OptionValue | Block] | None
"""What may be given for an option by keyword: a value, several for a repeatable one, None for none."""

OptionName = int | str | OptionDefinition
"""How an option may be named: by number, by name or by its definition."""

MAX_SHOWN = 32
"""Options in a ``repr``, which may end up in a log: a datagram holds thousands, and no honest message so many."""

_PLAIN = frozenset({3, 7, 11, 12, 15, 17})
_BLOCK_NAMES = {23: "block2", 27: "block1"}
_BLOCKS = frozenset(_BLOCK_NAMES)
_ORDINARY = _PLAIN | _BLOCKS | {28, 60, 292}

MAX_STEMS = 1024
MAX_STEM_OCTETS = 128
"""The blocks of a body come with the same options but for their numbers: of so many bodies these are kept judged, or of twice as
many, where they have so many octets and twenty options at most: a few kilobytes each."""

_MAX_STEM_ITEMS = 20

CRITICAL_PROBLEM = "a critical option that cannot be processed"
"""By what messages that are rejected for their options are counted (:rfc:`7252` section 5.4.1)."""


@attrs.frozen
class OptionProblem:
    """Why an option of a message does not count, or why the message must be rejected."""

    number: int
    reason: str
    is_critical: bool

    def __str__(self) -> str:
        known = DEFINITIONS.get(self.number)
        return f"option {self.number}{f' ({known.name})' if known else ''} {self.reason}"


@final
class Options:
    """The options of a message, in the order of the wire.

    Each option of the table can be read by name and given by name: ``Options(uri_path=("lamp", "1"),
    accept=50).accept``.  Single options read as None when absent, repeatable ones as an empty tuple.

    >>> options = Options(uri_path=("lamp", "1"), content_format=0)
    >>> options.uri_path
    ('lamp', '1')
    >>> options.replace(content_format=None, max_age=5)
    Options(uri_path=('lamp', '1'), max_age=5)
    """

    __slots__ = ("__dict__", "_items")

    _items: Items

    if_match = opaques(1)
    uri_host = string(3)
    etag = opaque(4)
    etags = opaques(4)
    if_none_match = flag(5)
    observe = uint(6)
    uri_port = uint(7)
    location_path = strings(8)
    oscore = opaque(9)
    uri_path = strings(11)
    content_format = uint(12)
    max_age = uint(14)
    uri_query = strings(15)
    hop_limit = uint(16)
    accept = uint(17)
    q_block1 = single_block(19)
    location_query = strings(20)
    edhoc = flag(21)
    block2 = single_block(23)
    block1 = single_block(27)
    size2 = uint(28)
    q_block2 = several_blocks(31)
    proxy_uri = string(35)
    proxy_scheme = string(39)
    size1 = uint(60)
    echo = opaque(252)
    no_response = uint(258)
    request_tag = opaques(292)

    def __init__(self, items: Iterable[tuple[OptionName, OptionValue | Block]] = (), /, **by_name: OptionInput) -> None:
        """Make options from pairs and keywords.

        Args:
          items: pairs of an option and one value each; a bytes value is taken as it is for unknown numbers.
          by_name: values by name; None leaves the option out; a sequence gives one occurrence per value.

        Raises:
          LocalProtocolError: for an unknown name, a value of the wrong type or length, or a second value for
            an option that is not repeatable.
        """
        _set_items(self, _make_items(items, by_name) if items or by_name else ())

    @classmethod
    def from_wire(cls, items: Items) -> Options:
        """Take *items*, pairs of number and octets in ascending order, as they came: nothing is checked."""
        options = cls.__new__(cls)
        _set_items(options, items)
        return options

    def raw(self, number: int) -> tuple[bytes, ...]:
        """Return the octets of those occurrences of option *number* that count."""
        index: dict[int, list[bytes]] | None = self.__dict__.get("_index")
        return tuple((_judge(self)[0] if index is None else index).get(number, ()))

    def get(self, option: OptionName) -> OptionValue | None:
        """Return the first value of *option* that counts, or None."""
        values = self.get_all(option)
        return values[0] if values else None

    def get_all(self, option: OptionName) -> tuple[OptionValue, ...]:
        """Return all values of *option* that count, decoded by its format."""
        definition = find_definition(option)
        return tuple([definition.decode(value) for value in self.raw(definition.number)])

    @Kept
    def problems(self) -> tuple[OptionProblem, ...]:
        """What is wrong with the options, judged by the table, in the order of the wire (section 5.4)."""
        return _judge(self)[1]

    @Kept
    def is_plain(self) -> bool:
        """Whether a request with these options says what it is about and in which format, and that well: Uri-Host,
        Uri-Port, Uri-Path, Uri-Query, Content-Format and Accept; most do, and there is nothing else to be processed."""
        for number, _ in self._items:
            if number not in _PLAIN:
                return False
        return not self.problems

    @Kept
    def is_ordinary(self) -> bool:
        """Whether there is nothing beside what :attr:`is_plain` allows but what comes with blocks: Block1, Block2, Size1,
        Size2 and Request-Tag; the blocks of most bodies come so."""
        for number, _ in self._items:
            if number not in _ORDINARY:
                return False
        return not self.problems

    def body_key(self, without: frozenset[int]) -> Items:
        """Return what belongs to the cache key (:rfc:`7252` section 5.6), less the options numbered *without* and the blocks.

        For the blocks of one body this is one object, as long as it is remembered.
        """
        stem: Options = self.__dict__.get("_stem", self)
        known: tuple[frozenset[int], Items] | None = stem.__dict__.get("_body_key")
        if known is None or known[0] is not without:
            left_out = without | _BLOCKS
            key = tuple([item for item in stem._items if item[0] not in left_out and not is_no_cache_key(item[0])])
            known = stem.__dict__["_body_key"] = without, key
        return known[1]

    def find_critical_problem(self, understood: Collection[int]) -> OptionProblem | None:
        """Return the first reason to reject the message for its options (section 5.4.1), or None.

        Args:
          understood: the numbers of the critical options that the caller processes; those that are not in the
            table may have any value, as often as they come.
        """
        judged: tuple[Collection[int], OptionProblem | None] | None = self.__dict__.get("_judged")
        if judged is None or judged[0] is not understood:
            judged = self.__dict__["_judged"] = understood, _find_critical_problem(self, understood)
        return judged[1]

    def replace(self, /, **by_name: OptionInput) -> Options:
        """Return options in which those named have the given values instead, or are gone (None)."""
        numbers = [(_KEYWORDS.get(name) or _find_by_keyword(name)).number for name in by_name]
        kept = [item for item in self._items if item[0] not in numbers]
        added = _make_items((), by_name)
        return Options.from_wire(tuple(sorted([*kept, *added], key=_number_of)))

    def with_uint(self, number: int, value: int) -> Options:
        """Return options in which option *number* has one value: what :meth:`replace` does, quicker.

        For who sends many messages that differ in such an option.  What was found out about the others is not forgotten.

        Args:
          number: of an option of the table with the format uint that is not repeatable.
          value: as many octets at most as the option may have; nothing is checked.
        """
        octets = value.to_bytes(value.bit_length() + 7 >> 3, "big")
        held = self.__dict__
        frame: Frame | None = held.get("_frame")
        if frame is None or frame.number != number:
            frame = held["_frame"] = Frame.around(number, self._items)
        if "_index" not in held:
            _judge(self)
        options = Options.__new__(Options)
        items, encoded = frame.fill(octets)
        _set_items(options, items)
        known = options.__dict__
        known["_encoded"] = encoded
        known["_index"] = {**held["_index"], number: [octets]}
        return options

    def without(self, *options: OptionName) -> Options:
        """Return the options less all occurrences of those named."""
        # The blocks of a body are asked for with the same options less the same few.
        known: tuple[tuple[OptionName, ...], Options] | None = self.__dict__.get("_lacking")
        if known is not None and known[0] == options:
            return known[1]
        numbers = {find_definition(option).number for option in options}
        lacking = Options.from_wire(tuple([item for item in self._items if item[0] not in numbers]))
        self.__dict__["_lacking"] = options, lacking
        return lacking

    def __add__(self, other: Options) -> Options:
        """Return the occurrences of both, those of *other* behind ours where they have one number."""
        return Options.from_wire(tuple(sorted(self._items + other._items, key=_number_of)))

    def encode(self) -> bytes:
        """Return the octets of all options (:rfc:`7252` section 3.1)."""
        encoded: bytes | None = self.__dict__.get("_encoded")
        if encoded is None:
            encoded = self.__dict__["_encoded"] = encode_items(self._items)
        return encoded

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Iterate over pairs of number and octets, everything included."""
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, option: OptionName) -> bool:
        try:
            number = find_definition(option).number
        except LocalProtocolError:
            return False
        return any(found == number for found, _ in self._items)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"options never change; replace({name}=...) returns others")

    def __reduce__(self) -> tuple[Callable[[Items], Options], tuple[Items]]:
        return Options.from_wire, (self._items,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Options):
            return NotImplemented
        return self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return f"Options({', '.join(self._describe())})"

    def _describe(self) -> Iterator[str]:
        by_number: dict[int, list[bytes]] = {}
        for number, value in self._items[:MAX_SHOWN]:
            by_number.setdefault(number, []).append(value)
        for number, found in by_number.items():
            definition = DEFINITIONS.get(number)
            if definition is None or any(definition.fault_of(value) for value in found):
                yield from [f"{number}={shorten(value)}" for value in found]
                continue
            is_flag = definition.format is OptionFormat.EMPTY
            values = [True if is_flag else definition.decode(value) for value in found]
            shown = tuple(values) if definition.is_repeatable else values[0] if len(values) == 1 else values
            yield f"{definition.name.lower().replace('-', '_')}={shown!r}"
        if len(self._items) > MAX_SHOWN:
            yield f"and {len(self._items) - MAX_SHOWN} more"


_set_items: Callable[[Options, Items], None] = Options.__dict__["_items"].__set__
RESERVED_KEYWORDS.update(dir(Options))

_ALIASES = {"etags": "etag"}
"""Names of attributes that are not names of options."""

_KEYWORDS: dict[str, OptionDefinition] = {}
"""The definitions by the keywords that were used."""
WHEN_REGISTERED.append(_KEYWORDS.clear)


def _read_registered(options: Options, name: str) -> OptionValue | tuple[OptionValue, ...] | None:
    """Read an option of the application's own, as an attribute that is known only at run time."""
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        definition = find_definition(name)
    except LocalProtocolError as exc:
        raise AttributeError(str(exc)) from None
    return options.get_all(definition) if definition.is_repeatable else options.get(definition)


def _make_registered_readable() -> None:
    """Have Python ask for attributes that are not there; as long as there are none, everything else is found sooner."""
    Options.__getattr__ = _read_registered  # type: ignore[attr-defined]


WHEN_REGISTERED.append(_make_registered_readable)
if not all(hasattr(Options, definition.name.lower().replace("-", "_")) for definition in DEFINITIONS.values()):
    _make_registered_readable()  # They were registered before this module was needed.

_SINGLE = (str, int, bytes, bytearray, memoryview, Block)
_number_of = itemgetter(0)


def _find_by_keyword(name: str) -> OptionDefinition:
    definition = find_definition(_ALIASES.get(name, name))
    # Other spellings are not remembered: they may be the user's, and each name has many.
    if name.islower() and name.isidentifier():
        _KEYWORDS[name] = definition
    return definition


def _make_items(items: Iterable[tuple[OptionName, OptionValue | Block]], by_name: Mapping[str, OptionInput]) -> Items:
    pairs: list[tuple[int, bytes]] = []
    for option, value in items:
        _add(pairs, find_definition(option), value)
    for name, given in by_name.items():
        definition = _KEYWORDS.get(name) or _find_by_keyword(name)
        if given is None or (given is False and definition.format is OptionFormat.EMPTY):
            continue
        # What is neither one value nor several is left for the definition to refuse.
        is_single = isinstance(given, _SINGLE) or not hasattr(given, "__iter__")
        for value in (given,) if is_single else given:  # type: ignore[union-attr, assignment]
            _add(pairs, definition, value)
    return tuple(pairs)


def _add(pairs: list[tuple[int, bytes]], definition: OptionDefinition, value: OptionValue | Block) -> None:
    """Put one occurrence where it belongs in *pairs*, behind those of the same number: their order is the caller's."""
    number = definition.number
    place = len(pairs)
    if place and number <= pairs[-1][0]:
        place = bisect_right(pairs, number, key=_number_of)
        if not definition.is_repeatable and place and pairs[place - 1][0] == number:
            raise LocalProtocolError(f"option {definition.name} is not repeatable, and is given twice")
    pairs.insert(place, (number, definition.encode(value.to_uint() if isinstance(value, Block) else value)))


def _judge(options: Options) -> tuple[dict[int, list[bytes]], tuple[OptionProblem, ...]]:
    """Find out which occurrences count, by number, and what is wrong (sections 5.4.3 and 5.4.5), and keep it."""
    held, items = options.__dict__, options._items
    rest = tuple([item for item in items if item[0] not in _BLOCKS])
    if len(rest) < len(items) <= _MAX_STEM_ITEMS:
        blocks = {number: [value] for number, value in items if number in _BLOCKS and len(value) <= 3}
        stem = _find_stem(rest)
        # Otherwise a block is there twice, or is too long.
        if len(rest) + len(blocks) == len(items) and not stem.problems:
            held.update(stem.__dict__)
            held["_stem"] = stem
            index = held["_index"] = {**held["_index"], **blocks}
            for number, (value,) in blocks.items():
                held[_BLOCK_NAMES[number]] = read_block(value)
            return index, ()
    held["_index"], held["problems"] = judged = _judge_all(items)
    return judged


def _find_stem(items: Items) -> Options:
    """Return the same options for the same *items*, which have no blocks.

    Rule: nobody else gets them, and they are asked only for what holds for all that have them, and that there are no blocks.
    """
    stem = _stems.find(items)
    if stem is None:
        stem = Options.from_wire(items)
        stem.__dict__.update(block1=None, block2=None)
        if sum([len(value) for _, value in items]) <= MAX_STEM_OCTETS:
            _stems.put(items, stem)
    return stem


_stems: Recent[Items, Options] = Recent(MAX_STEMS)
WHEN_REGISTERED.append(_stems.clear)


def _judge_all(items: Items) -> tuple[dict[int, list[bytes]], tuple[OptionProblem, ...]]:
    """Judge *items* one by one."""
    index: dict[int, list[bytes]] = {}
    problems: list[OptionProblem] = []
    previous = -1
    for number, value in items:
        definition = DEFINITIONS.get(number)
        if definition is None:
            problems.append(OptionProblem(number, "is unknown", is_critical(number)))
        else:
            # Section 5.4.5: a surplus occurrence is treated like an unknown option.
            is_surplus = number == previous and not definition.is_repeatable
            fault = "is given more than once" if is_surplus else definition.fault_of(value)
            previous = number
            if fault is not None:
                problems.append(OptionProblem(number, fault, is_critical(number)))
                continue
        if number in index:
            index[number].append(value)
        else:
            index[number] = [value]
    return index, tuple(problems)


def _find_critical_problem(options: Options, understood: Collection[int]) -> OptionProblem | None:
    faults = options.problems and [
        found for found in options.problems if found.is_critical and found.number in DEFINITIONS
    ]
    for number, _ in options._items:
        if faults and number == faults[0].number and number in understood:
            return faults[0]
        if number & 1 and number not in understood:
            reason = "is critical and not supported here" if number in DEFINITIONS else "is unknown"
            return OptionProblem(number, reason, True)
    return None
