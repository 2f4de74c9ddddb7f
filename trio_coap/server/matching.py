"""Who observes what: observers by the parameters of their paths.

=====================================================  ===============================================
parameters that are given                              what it costs to find who matches
=====================================================  ===============================================
none                                                   all observers
all that the path has                                  a look-up
some of them                                           a walk over those with the rarest of the values
=====================================================  ===============================================

Rule 1: what is found does not depend on the way: values match if they are equal.  Rule 2: only of texts, integers, octets and
sequences of texts it is taken for granted that equal ones have one hash: paths have no others, but applications may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Generic, TypeVar, final

T = TypeVar("T")

Parameters = dict[str, object]

_Key = frozenset[tuple[str, object]]


@final
class _Group(Generic[T]):
    """Observers the paths of which have parameters of the same names: those of one template."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.by_all: dict[_Key, dict[T, None]] = {}
        # Made when it is asked for: most paths have one parameter.
        self._by_one: dict[tuple[str, object], dict[_Key, None]] | None = None

    def add(self, key: _Key, one: T) -> None:
        members = self.by_all.get(key)
        if members is None:
            members = self.by_all[key] = {}
            if self._by_one is not None:
                self._index(self._by_one, key)
        members[one] = None

    def discard(self, key: _Key, one: T) -> None:
        members = self.by_all[key]
        del members[one]
        if members:
            return
        del self.by_all[key]
        for pair in key if self._by_one is not None else ():
            assert self._by_one is not None
            del self._by_one[pair][key]
            if not self._by_one[pair]:
                del self._by_one[pair]

    def find(self, wanted: _Key) -> Iterator[T]:
        """Iterate over who matches *wanted*, which has not all names."""
        if self._by_one is None:
            self._by_one = {}
            for key in self.by_all:
                self._index(self._by_one, key)
        candidates = min([self._by_one.get(pair, {}) for pair in wanted], key=len)
        for key in candidates:
            if wanted <= key:
                yield from self.by_all[key]

    @staticmethod
    def _index(by_one: dict[tuple[str, object], dict[_Key, None]], key: _Key) -> None:
        for pair in key:
            by_one.setdefault(pair, {})[key] = None


@final
class Matching(Generic[T]):
    """Observers, each with parameters; ``len(matching)`` is their number, iteration in the order in which they came."""

    def __init__(self) -> None:
        """Start without any."""
        self._keys: dict[T, tuple[_Group[T], _Key] | None] = {}
        self._groups: dict[frozenset[str], _Group[T]] = {}
        # Whose values may have any hash; applications that have such know why.
        self._others: dict[T, Parameters] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[T]:
        return iter(self._keys)

    def add(self, one: T, parameters: Parameters) -> None:
        """Enter *one* with *parameters*, which are copied; it has other ones no more."""
        self.discard(one)
        if not _are_plain(parameters.values()):
            self._keys[one] = None
            self._others[one] = dict(parameters)
            return
        names = frozenset(parameters)
        group = self._groups.get(names)
        if group is None:
            group = self._groups[names] = _Group(names)
        key = frozenset(parameters.items())
        self._keys[one] = group, key
        group.add(key, one)

    def discard(self, one: T) -> None:
        """Take *one* out, if it is in."""
        if one not in self._keys:
            return
        place = self._keys.pop(one)
        if place is None:
            del self._others[one]
            return
        group, key = place
        group.discard(key, one)
        if not group.by_all:
            del self._groups[group.names]

    def find(self, parameters: Parameters) -> list[T]:
        """Return those who have at least *parameters*, with equal values."""
        if not parameters:
            return list(self._keys)
        if not _are_plain(parameters.values()):
            return [one for one in self._keys if _match(self._parameters_of(one), parameters)]
        names, wanted = frozenset(parameters), frozenset(parameters.items())
        found: list[T] = []
        for group in self._groups.values():
            if group.names == names:
                found += group.by_all.get(wanted, ())
            elif names < group.names:
                found += group.find(wanted)
        found += [one for one, known in self._others.items() if _match(known, parameters)]
        return found

    def _parameters_of(self, one: T) -> Parameters:
        place = self._keys[one]
        return self._others[one] if place is None else dict(place[1])


def _match(known: Parameters, wanted: Parameters) -> bool:
    return all(name in known and known[name] == wanted[name] for name in wanted)


_PLAIN = frozenset({str, int, bool, bytes})


def _are_plain(values: Collection[object]) -> bool:
    """Return whether equal values have equal hashes."""
    return all(type(value) in _PLAIN or (type(value) is tuple and _are_texts(value)) for value in values)


def _are_texts(values: Iterable[object]) -> bool:
    return all(type(value) is str for value in values)
