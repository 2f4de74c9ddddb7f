"""Orders about datagrams: scripts, filters and partitions.

Rule: scripts come before filters, and what they decide the link does not decide; through a partition nothing passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import final

from trio_coap.testing.datagram import Action, Datagram

Filter = Callable[[Datagram], Action | None]
"""Decides what happens to a datagram; None leaves that to others.  It must not raise."""


@final
class Script:
    """What happens to the n-th datagram, of all or of those with one source or destination.

    Attributes:
      seen: how many datagrams it has counted so far.
    """

    def __init__(
        self, actions: Sequence[Action] | Mapping[int, Action], source: str | None, destination: str | None
    ) -> None:
        """Make a script; see :meth:`VirtualNetwork.script`."""
        numbered = actions if isinstance(actions, Mapping) else dict(enumerate(actions, start=1))
        self._actions = dict(numbered)
        self._source = source
        self._destination = destination
        self.seen = 0

    @property
    def is_over(self) -> bool:
        """True when all of its actions have been used."""
        return not self._actions

    def __call__(self, datagram: Datagram) -> Action | None:
        """Count *datagram*, if it is one of those that the script is about, and return its action."""
        if self._source is not None and not datagram.involves(self._source, as_source=True):
            return None
        if self._destination is not None and not datagram.involves(self._destination, as_source=False):
            return None
        self.seen += 1
        return self._actions.pop(self.seen, None)


@final
class Orders:
    """All orders that a network has."""

    def __init__(self) -> None:
        """Start without any."""
        self._scripts: list[Script] = []
        self._filters: list[Filter] = []
        self._partitions: list[tuple[frozenset[str], ...]] = []

    def add_script(self, script: Script) -> None:
        """Follow *script* until it is over."""
        self._scripts = [known for known in self._scripts if not known.is_over]
        self._scripts.append(script)

    def add_filter(self, decide: Filter) -> None:
        """Ask *decide* about every datagram."""
        self._filters.append(decide)

    def remove_filter(self, decide: Filter) -> None:
        """Ask *decide* no more."""
        self._filters.remove(decide)

    def add_partition(self, groups: Iterable[Iterable[str]]) -> None:
        """Separate the groups, each of names of hosts; with one group, from all others."""
        self._partitions.append(tuple(frozenset(group) for group in groups))

    def heal(self) -> None:
        """Remove all partitions."""
        self._partitions.clear()

    def is_partitioned(self, sender: str, receiver: str) -> bool:
        """Return whether a partition is between two hosts."""
        if sender == receiver:
            return False
        for groups in self._partitions:
            sides = [next((i for i, group in enumerate(groups) if end in group), None) for end in (sender, receiver)]
            if sides[0] != sides[1] and (None not in sides or len(groups) == 1):
                return True
        return False

    def action_for(self, datagram: Datagram) -> Action | None:
        """Return what scripts and filters say about *datagram*, or None; all scripts count it."""
        for action in [script(datagram) for script in self._scripts]:
            if action is not None:
                return action
        for decide in self._filters:
            action = decide(datagram)
            if action is not None:
                return action
        return None
