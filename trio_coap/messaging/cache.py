"""Messages that must be remembered, by message ID and by the time something is due (:rfc:`7252` section 4).

Rule 1: a cache belongs to one remote endpoint, since message IDs are scoped to a pair of endpoints (section 4.4);
the queue is one per local endpoint, since one task sleeps on it.  Rule 2: an entry is in the mapping as soon as it has
a message ID, and in at most one of queue and pending FIFO until it is removed; in neither while its owner keeps it
elsewhere.  Rule 3: this module does no I/O,
reads no clock and draws no random number: ``now`` (seconds, the caller's clock) is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from trio_coap.messaging.parameters import DEFAULT_PARAMETERS, TransmissionParameters
from trio_coap.messaging.queue import DueQueue
from trio_coap.wire.codes import CON, NON
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Message

if TYPE_CHECKING:
    from trio_coap.messaging.endpoint import Endpoint

D = TypeVar("D")


class MessageCacheEntry:
    """A message in a cache, with the time at which something must be done about it.

    Entries sort by :attr:`time_due`.  Once removed from its cache an entry cannot be put into another.

    Attributes:
      message_id: its ID; None while it waits for one.
      created_at: when the entry was made, in seconds.
      activated_at: when its life cycle started, in seconds; None while it is pending.
      queue_time, queue_place: the queue's.
    """

    __slots__ = ("_cache", "_message", "activated_at", "created_at", "message_id", "queue_place", "queue_time")

    def __init__(
        self,
        cache: MessageCache[Any],
        message: Message,
        now: float,
        *,
        activate: bool = True,
        time_due_offset: float | None = None,
    ) -> None:
        """Put *message* into *cache*.

        Args:
          cache: where the entry belongs, for as long as it lives.
          message: a CON or NON message.
          now: the current time, in seconds.
          activate: whether the life cycle starts at once; if not, the entry is pending until it gets a time.
          time_due_offset: seconds from *now* until it is due; by default it is due when it expires.

        Raises:
          LocalProtocolError: for an ACK or RST, and for a message ID that is in the cache already.
        """
        if message.type is not CON and message.type is not NON:
            raise LocalProtocolError(f"only CON and NON messages are cached, not {message!r}")
        self._cache: MessageCache[Any] | None = cache
        self._message = message
        self.message_id = message.message_id
        self.created_at = now
        self.activated_at: float | None = None
        self.queue_time: float | None = None
        self.queue_place = -1
        cache._add(self, is_pending=not activate)
        if activate:
            self.activated_at = now
            cache._reposition(self, self._expires(now) if time_due_offset is None else now + time_due_offset)

    @property
    def message(self) -> Message:
        """The CON or NON message."""
        return self._message

    @property
    def cache(self) -> MessageCache[Any] | None:
        """The cache to which the entry belongs; None once it has been removed."""
        return self._cache

    @property
    def parameters(self) -> TransmissionParameters:
        """The transmission parameters that hold for the message."""
        return DEFAULT_PARAMETERS if self._cache is None else self._cache.parameters

    @property
    def time_due(self) -> float | None:
        """When :meth:`process_timeout` is due, in seconds; None while pending, and after removal.

        Assigning moves the entry in the queue, or activates it: :attr:`activated_at` is now, as the cache's clock has
        it.
        """
        return self.queue_time

    @time_due.setter
    def time_due(self, time_due: float) -> None:
        if time_due is None:
            raise LocalProtocolError("an entry in a queue cannot become pending again")
        cache = self._require_cache()
        if self.activated_at is None:
            self.activated_at = cache.clock()
        cache._reposition(self, time_due)

    @property
    def expires_at(self) -> float | None:
        """When the message ID is free again, in seconds; None while pending.

        EXCHANGE_LIFETIME after the activation for a CON, NON_LIFETIME for a NON message (section 4.8.2).
        """
        return None if self.activated_at is None else self._expires(self.activated_at)

    # The names that CoAPy gives to these instants.

    @property
    def created_clk(self) -> float:
        """The same as ``created_at``."""
        return self.created_at

    @property
    def activated_clk(self) -> float | None:
        """The same as ``activated_at``."""
        return self.activated_at

    @property
    def expires_clk(self) -> float | None:
        """The same as :attr:`expires_at`."""
        return self.expires_at

    def process_timeout(self, now: float) -> None:
        """Do what is due, and move on in the life cycle, or out of the cache.

        Whether the time has come is for the caller to know.

        Raises:
          LocalProtocolError: if the entry is in no cache any more.
        """
        raise NotImplementedError

    def _expires(self, since: float) -> float:
        parameters = self.parameters
        return since + (parameters.exchange_lifetime if self.message.type is CON else parameters.non_lifetime)

    def _require_cache(self) -> MessageCache[Any]:
        cache = self.cache
        if cache is None:
            raise LocalProtocolError(f"the entry of {self.message!r} is in no cache any more")
        return cache

    def _dissociate(self) -> None:
        self._cache = None

    def __lt__(self, other: MessageCacheEntry) -> bool:
        ours, theirs = self.time_due, other.time_due
        if ours is None or theirs is None:
            raise LocalProtocolError("entries sort by time_due, and a pending one has none")
        return ours < theirs

    def __repr__(self) -> str:
        due = "pending" if self.time_due is None else f"due at {self.time_due:g}"
        return f"<{self.__class__.__name__} {self.message!r} {due}>"


E = TypeVar("E", bound=MessageCacheEntry)


def _beginning() -> float:
    return 0.0


class MessageCache(Generic[E]):
    """The remembered messages of one direction between a local endpoint and a remote one.

    It is a mapping from message ID to entry (a message may stand for its ID), and at the same time a FIFO of pending
    entries and a share in a queue of the others.  ``len(cache)`` counts all entries, also those that wait for
    a message ID and are thus not yet in the mapping.

    Attributes:
      by_id: the mapping itself, to be read: for who looks up the message ID of each datagram.
    """

    __slots__ = (
        "_on_removed",
        "_pending",
        "_queue",
        "_unnumbered",
        "by_id",
        "clock",
        "endpoint",
        "is_sent_cache",
        "parameters",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        is_sent_cache: bool,
        *,
        queue: DueQueue[Any] | None = None,
        parameters: TransmissionParameters = DEFAULT_PARAMETERS,
        clock: Callable[[], float] = _beginning,
        on_removed: Callable[[E], None] | None = None,
    ) -> None:
        """Make an empty cache.

        Args:
          endpoint: the endpoint to which the cache belongs: whom its messages go to or come from.
          is_sent_cache: True for messages that we sent, False for those that we received.
          queue: the local endpoint's queue; by default the cache gets one of its own.
          parameters: say how long messages are remembered.
          clock: tells the time, in seconds, at which an assignment to ``time_due`` activates an entry; a cache
            of its own stays at 0.
          on_removed: is told of every entry that has just been removed, whoever did it.
        """
        self.endpoint = endpoint
        self.is_sent_cache = is_sent_cache
        self.parameters = parameters
        self.clock = clock
        self._on_removed = on_removed
        self.by_id: dict[int, E] = {}
        # An ordered dict is a FIFO from whose middle a cancelled message can be taken in O(1).
        self._pending: OrderedDict[E, None] = OrderedDict()
        self._unnumbered: dict[E, None] = {}
        self._queue: DueQueue[Any] = DueQueue() if queue is None else queue

    def queue(self) -> DueQueue[Any]:
        """Return the queue, sorted by ``time_due``, in which the entries stand, those of other remotes among them."""
        return self._queue

    def pending(self) -> KeysView[E]:
        """Return the entries without ``time_due``, in the order in which they were added."""
        return self._pending.keys()

    def clear(self) -> None:
        """Remove all entries, pending ones included."""
        for entry in self.all_entries():
            self._remove(entry)

    def all_entries(self) -> list[E]:
        """Return all entries, those that wait for a message ID last."""
        return [*self.by_id.values(), *self._unnumbered]

    def number(self, entry: E, message_id: int) -> None:
        """Give *entry*, which waits for one, a message ID."""
        if message_id in self.by_id:
            raise LocalProtocolError(f"message ID {message_id} is in the cache already")
        entry.message_id = entry.message.message_id = message_id
        self.by_id[message_id] = entry
        del self._unnumbered[entry]

    @overload
    def get(self, key: int | Message) -> E | None: ...

    @overload
    def get(self, key: int | Message, default: D) -> E | D: ...

    def get(self, key: int | Message, default: D | None = None) -> E | D | None:
        """Return the entry with the message ID *key*, or *default*."""
        return self.by_id.get(message_id_of(key), default)  # type: ignore[call-overload, no-any-return]

    def keys(self) -> KeysView[int]:
        """Return the message IDs."""
        return self.by_id.keys()

    def values(self) -> ValuesView[E]:
        """Return the entries that have a message ID."""
        return self.by_id.values()

    def items(self) -> ItemsView[int, E]:
        """Return the message IDs with their entries."""
        return self.by_id.items()

    def __getitem__(self, key: int | Message) -> E:
        return self.by_id[message_id_of(key)]  # type: ignore[index]

    def __contains__(self, key: object) -> bool:
        return message_id_of(key) in self.by_id

    def __iter__(self) -> Iterator[int]:
        return iter(self.by_id)

    def __len__(self) -> int:
        return len(self.by_id) + len(self._unnumbered)

    def __bool__(self) -> bool:
        return bool(self.by_id or self._unnumbered)

    def _add(self, entry: E, *, is_pending: bool = True) -> None:
        message_id = entry.message_id
        if message_id is None:
            self._unnumbered[entry] = None
        elif self.by_id.setdefault(message_id, entry) is not entry:
            raise LocalProtocolError(f"message ID {message_id} is in the cache already")
        if is_pending:
            self._pending[entry] = None

    def _reposition(self, entry: E, time_due: float) -> None:
        """Put *entry* into the queue, from wherever it is."""
        if entry.queue_time is None:
            self._pending.pop(entry, None)
        self._queue.schedule(entry, time_due)

    def _await(self, entry: E, time_due: float) -> None:
        """Put *entry*, which is in the FIFO at most, into the queue, where it will probably be put off."""
        if self._pending:
            self._pending.pop(entry, None)
        self._queue.push(entry, time_due)

    def _keep(self, entry: E, time_due: float) -> None:
        """Put *entry*, which is in the FIFO at most, into the queue, where it stays until it expires."""
        if self._pending:
            self._pending.pop(entry, None)
        self._queue.append(entry, time_due)

    def _put_off(self, entry: E, time_due: float) -> None:
        """Move *entry* in the queue to where it stays until it expires."""
        self._queue.put_off(entry, time_due)

    def _suspend(self, entry: E, *, is_pending: bool = True) -> None:
        """Take *entry* out of the queue: to the end of the FIFO, or to where its owner keeps it."""
        self._queue.discard(entry)
        entry.activated_at = None
        if is_pending:
            self._pending[entry] = None
        else:
            self._pending.pop(entry, None)

    def _remove(self, entry: E) -> None:
        """Take *entry* out of everything: the one place where entries end."""
        if entry.message_id is None:
            del self._unnumbered[entry]
        else:
            del self.by_id[entry.message_id]
        if entry.queue_time is None:
            self._pending.pop(entry, None)
        else:
            self._queue.discard(entry)
        entry._dissociate()
        if self._on_removed is not None:
            self._on_removed(entry)


def message_id_of(key: object) -> object:
    """Return the message ID for which *key* stands: itself, or that of a message."""
    return key.message_id if isinstance(key, Message) else key
