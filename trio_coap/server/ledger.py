"""A table that remotes make grow, bounded in number and octets for each of them and in all (:rfc:`7959` section 7).

Rule 1: nothing runs for an entry: what has expired goes when the table is used next.  Rule 2: the order is that of use, so
that the oldest stands first, for each remote and in all.  Rule 3: what leaves the table is handed to its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
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


@attrs.define(eq=False)
class _Entry(Generic[V]):
    value: V
    octets: int
    used_at: float


@attrs.define(eq=False)
class _Account:
    octets: int = 0
    keys: dict[Key, None] = attrs.Factory(dict)
    """In the order of use."""


@final
class Ledger(Generic[V]):
    """Entries of remotes.

    Attributes:
      octets: of all entries.
    """

    def __init__(
        self, limits: LedgerLimits, lifetime: float, dropped: Callable[[V], None] = lambda value: None
    ) -> None:
        """Make an empty ledger.

        Args:
          limits: how much it holds.
          lifetime: how long an entry stays that is not used, in seconds.
          dropped: is given each value that leaves the ledger.
        """
        self.octets = 0
        self._limits = limits
        self._lifetime = lifetime
        self._dropped = dropped
        self._entries: dict[Key, _Entry[V]] = {}
        self._accounts: dict[Hashable, _Account] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def values(self) -> list[V]:
        """Return what it holds, the oldest first."""
        return [entry.value for entry in self._entries.values()]

    def get(self, key: Key, now: float) -> V | None:
        """Return the value at *key* and count it as used, or None."""
        self.expire(now)
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        entry.used_at = now
        self._entries[key] = entry
        account = self._accounts[key[0]]
        del account.keys[key]
        account.keys[key] = None
        return entry.value

    def find_excess(self, remote: Hashable, octets: int, *, new: bool) -> str | None:
        """Say which limit *octets* more of *remote* would break, in a new entry or an old one; None for none."""
        account = self._accounts.get(remote) or _Account()
        limits = self._limits
        if account.octets + octets > limits.octets_per_remote:
            return f"more than {limits.octets_per_remote} octets of one endpoint"
        if new and len(account.keys) >= limits.per_remote:
            return f"more than {limits.per_remote} bodies of one endpoint"
        if self.octets + octets > limits.octets_in_all:
            return f"more than {limits.octets_in_all} octets in all"
        if new and len(self._entries) >= limits.in_all:
            return f"more than {limits.in_all} bodies in all"
        return None

    def put(self, key: Key, value: V, octets: int, now: float) -> None:
        """Enter *value*, in place of what stands there; limits are the caller's business."""
        self.discard(key)
        self._entries[key] = _Entry(value, octets, now)
        account = self._accounts.setdefault(key[0], _Account())
        account.keys[key] = None
        account.octets += octets
        self.octets += octets

    def put_evicting(self, key: Key, value: V, octets: int, now: float) -> bool:
        """Enter *value*, and drop the oldest for it: those of the remote first; False if it would not fit at all."""
        self.expire(now)
        self.discard(key)
        remote = key[0]
        while self.find_excess(remote, octets, new=True):
            account = self._accounts.get(remote)
            victim = next(iter(account.keys if account is not None else self._entries), None)
            if victim is None:
                self._dropped(value)
                return False
            self.discard(victim)
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
        account = self._accounts[key[0]]
        del account.keys[key]
        account.octets -= entry.octets
        self.octets -= entry.octets
        if not account.keys:
            del self._accounts[key[0]]
        self._dropped(entry.value)

    def discard_idle(self, remote: Hashable, idle: float, now: float) -> None:
        """Drop the entries of *remote* that have not been used for *idle* seconds."""
        account = self._accounts.get(remote)
        while account is not None and account.keys:
            oldest = next(iter(account.keys))
            if self._entries[oldest].used_at + idle > now:
                return
            self.discard(oldest)

    def expire(self, now: float) -> None:
        """Drop what has not been used for a lifetime."""
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.used_at + self._lifetime > now:
                return
            self.discard(key)
