"""A table that remotes make grow, bounded in number and octets for each of them and in all (:rfc:`7959` section 7).

Rule 1: nothing runs for an entry: what has expired goes when the table is used next.  Rule 2: the order is that of use, so
that the oldest stands first, for each remote and in all.  Rule 3: what leaves the table is handed to its owner.  Rule 4: what
has to go for want of room is counted by the limit's name; refusals are counted by who refuses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar, final

import attrs

V = TypeVar("V")

Key = tuple[Hashable, Hashable]
"""Whose entry it is, and which one."""


@attrs.frozen
class LedgerLimits:
    """How much a ledger holds."""

    per_remote: int
    """Entries of one remote."""

    octets_per_remote: int
    """Octets of one remote's entries."""

    in_all: int
    """Entries of all remotes."""

    octets_in_all: int
    """Octets of all entries."""


@attrs.frozen
class Excess:
    """A limit that something would break."""

    limit: str
    """Its name in :class:`trio_coap.server.limits.BlockLimits`."""

    maximum: int
    unit: str

    def __str__(self) -> str:
        return f"more than {self.maximum} {self.unit}"


@final
class _Entry(Generic[V]):
    __slots__ = ("octets", "used_at", "value")

    def __init__(self, value: V, octets: int, used_at: float) -> None:
        self.value = value
        self.octets = octets
        self.used_at = used_at


@final
class _Account:
    __slots__ = ("keys", "octets")

    keys: dict[Key, None]
    """In the order of use."""

    def __init__(self) -> None:
        self.octets = 0
        self.keys = {}


@final
class Ledger(Generic[V]):
    """Entries of remotes.

    Attributes:
      octets: of all entries.
    """

    def __init__(
        self,
        limits: LedgerLimits,
        lifetime: float,
        dropped: Callable[[V], None] = lambda value: None,
        turned_away: Counter[str] | None = None,
    ) -> None:
        """Make an empty ledger.

        Args:
          limits: how much it holds.
          lifetime: how long an entry stays that is not used, in seconds.
          dropped: is given each value that leaves the ledger.
          turned_away: counts what goes for want of room, by the name of the limit.
        """
        self.octets = 0
        self._limits = limits
        self._lifetime = lifetime
        self._dropped = dropped
        self._turned_away = Counter() if turned_away is None else turned_away
        self._entries: dict[Key, _Entry[V]] = {}
        # Nothing expires earlier: entries expire in the order of use, and use moves them to later.
        self._due_at = math.inf
        # Which stands last, if that is known: blocks of one body mostly come one after the other.
        self._newest: _Entry[V] | None = None
        self._accounts: dict[Hashable, _Account] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def values(self) -> list[V]:
        """Return what it holds, the oldest first."""
        return [entry.value for entry in self._entries.values()]

    def get(self, key: Key, now: float) -> V | None:
        """Return the value at *key* and count it as used, or None."""
        if now >= self._due_at:
            self.expire(now)
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.used_at = now
        if entry is self._newest:
            return entry.value
        self._newest = entry
        del self._entries[key]
        self._entries[key] = entry
        account = self._accounts[key[0]]
        del account.keys[key]
        account.keys[key] = None
        return entry.value

    def find_excess(self, remote: Hashable, octets: int, *, new: bool) -> Excess | None:
        """Say which limit *octets* more of *remote* would break, in a new entry or an old one; None for none."""
        account = self._accounts.get(remote) or _Account()
        limits = self._limits
        if account.octets + octets > limits.octets_per_remote:
            return Excess("max_octets_per_remote", limits.octets_per_remote, "octets of one endpoint")
        if new and len(account.keys) >= limits.per_remote:
            return Excess("max_bodies_per_remote", limits.per_remote, "bodies of one endpoint")
        if self.octets + octets > limits.octets_in_all:
            return Excess("max_octets", limits.octets_in_all, "octets in all")
        if new and len(self._entries) >= limits.in_all:
            return Excess("max_bodies", limits.in_all, "bodies in all")
        return None

    def put(self, key: Key, value: V, octets: int, now: float) -> None:
        """Enter *value*, in place of what stands there; limits are the caller's business."""
        self.discard(key)
        if not self._entries:
            self._due_at = now + self._lifetime
        self._newest = self._entries[key] = _Entry(value, octets, now)
        account = self._accounts.setdefault(key[0], _Account())
        account.keys[key] = None
        account.octets += octets
        self.octets += octets

    def put_evicting(self, key: Key, value: V, octets: int, now: float) -> bool:
        """Enter *value*, and drop the oldest for it: those of the remote first; False if it would not fit at all."""
        self.expire(now)
        self.discard(key)
        remote = key[0]
        fits_alone = octets <= min(self._limits.octets_per_remote, self._limits.octets_in_all)
        while (excess := self.find_excess(remote, octets, new=True)) is not None:
            self._turned_away[excess.limit] += 1
            if not fits_alone:
                self._dropped(value)
                return False
            account = self._accounts.get(remote)
            self.discard(next(iter(self._entries if account is None else account.keys)))
        self.put(key, value, octets, now)
        return True

    def grow(self, key: Key, octets: int) -> None:
        """Count *octets* more at *key*."""
        self._entries[key].octets += octets
        self._accounts[key[0]].octets += octets
        self.octets += octets

    def discard(self, key: Key) -> None:
        """Drop the entry at *key*, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        if entry is self._newest:
            self._newest = None
        account = self._accounts[key[0]]
        del account.keys[key]
        account.octets -= entry.octets
        self.octets -= entry.octets
        if not account.keys:
            del self._accounts[key[0]]
        self._dropped(entry.value)

    def idle(self, idle: float, now: float, remote: Hashable = None) -> Iterator[Key]:
        """Iterate over the keys of what has not been used for *idle* seconds, the oldest first.

        The entry at the key that was given last may be dropped meanwhile.

        Args:
          idle: in seconds.
          now: the current time, in seconds.
          remote: whose entries; by default those of all.
        """
        account = self._accounts.get(remote)
        for key in list(self._entries if remote is None else account.keys if account is not None else ()):
            if self._entries[key].used_at + idle > now:
                return
            yield key

    def expire(self, now: float) -> None:
        """Drop what has not been used for a lifetime."""
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            self._due_at = entry.used_at + self._lifetime
            if self._due_at > now:
                return
            self.discard(key)
