"""What was found out a moment ago, in a table of bounded size.

Rule 1: an entry that was looked up lately is there; one that was not may be gone, and is found out anew.  Rule 2: the hot path is
one look-up in :attr:`Recent.young`; only who finds nothing there asks further.  Rule 3: nothing is ever thrown away all at once,
so that who needs a little more than there is room for does not start over and over again.
"""

from __future__ import annotations

from typing import Generic, TypeVar, final

K = TypeVar("K")
V = TypeVar("V")


@final
class Recent(Generic[K, V]):
    """A table of what was looked up lately: at least *size* entries of it, and at most twice as many.

    Attributes:
      young: those that were entered, or found, lately; to be read.
      size: how many of these there may be; at that the older ones go, and the young ones are the older ones.
    """

    __slots__ = ("_older", "size", "young")

    def __init__(self, size: int) -> None:
        """Make an empty table."""
        self.size = size
        self.young: dict[K, V] = {}
        self._older: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self._older)

    def find(self, key: K) -> V | None:
        """Return the value at *key*, which is young from now on, or None."""
        value = self.young.get(key)
        if value is None:
            value = self._older.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Enter *value* at *key*, where nothing is."""
        if len(self.young) >= self.size:
            self._older, self.young = self.young, {}
        self.young[key] = value

    def clear(self) -> None:
        """Forget everything."""
        self.young.clear()
        self._older.clear()
