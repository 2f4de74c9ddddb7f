"""How options are read by name, and what is kept of that.

Rule: what was read is kept in the dictionary of the options, which Python asks before the descriptors of this module: they run once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Self, TypeVar, overload

from trio_coap.wire.block import Block, read_block

if TYPE_CHECKING:
    from trio_coap.wire.options import Options

T = TypeVar("T")


class Access(Generic[T]):
    """Typed access to one option of the table.

    What was read is kept in the instance's dictionary, which Python asks before this: equal requests share their options
    (:func:`trio_coap.wire.message.decode_message_untrusted`), and much is asked of each.
    """

    def __init__(self, number: int, read: Callable[[tuple[bytes, ...]], T]) -> None:
        self.number = number
        self.read = read
        self.absent = read(())
        self.name = ""

    def __set_name__(self, owner: type[Options], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, options: None, owner: type[Options]) -> Self: ...
    @overload
    def __get__(self, options: Options, owner: type[Options]) -> T: ...
    def __get__(self, options: Options | None, owner: type[Options]) -> T | Self:
        if options is None:
            return self
        held = options.__dict__
        if "_index" not in held:
            options.raw(self.number)  # That judges all of them.
            if self.name in held:
                known: T = held[self.name]
                return known
        if "_stem" in held:
            value: T = getattr(held["_stem"], self.name)
        else:
            values = held["_index"].get(self.number)
            value = self.absent if values is None else self.read(tuple(values))
        held[self.name] = value
        return value


class Kept(cached_property[T]):
    """A cached property without the lock that Python 3.11 takes: to find the same out twice does no harm."""

    if not TYPE_CHECKING:

        def __get__(self, options: Options | None, owner: type[Options] | None = None) -> T | Self:
            if options is None:
                return self
            value = options.__dict__[self.attrname] = self.func(options)
            return value


def uint(number: int) -> Access[int | None]:
    """A number, or None."""
    return Access(number, lambda values: int.from_bytes(values[0], "big") if values else None)


def opaque(number: int) -> Access[bytes | None]:
    """Octets, or None."""
    return Access(number, lambda values: values[0] if values else None)


def string(number: int) -> Access[str | None]:
    """A text, or None."""
    return Access(number, lambda values: values[0].decode() if values else None)


def single_block(number: int) -> Access[Block | None]:
    """A block, or None."""
    return Access(number, lambda values: read_block(values[0]) if values else None)


def several_blocks(number: int) -> Access[tuple[Block, ...]]:
    """All blocks."""
    return Access(number, lambda values: tuple([read_block(value) for value in values]))


def flag(number: int) -> Access[bool]:
    """Whether the option is there."""
    return Access(number, bool)


def opaques(number: int) -> Access[tuple[bytes, ...]]:
    """All octets, one occurrence after the other."""
    return Access(number, lambda values: values)


def strings(number: int) -> Access[tuple[str, ...]]:
    """All texts."""
    return Access(number, lambda values: tuple([value.decode() for value in values]))
