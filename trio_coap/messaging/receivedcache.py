"""The received messages of one remote endpoint: entries while something is to be done about them, then records.

Rule 1: a message is either an entry in ``by_id`` or a record in ``kept``; who asks for it as for an entry of
the mapping gets one, made for the occasion.  Rule 2: what is kept holds nothing but octets, so a garbage collector passes
it by, and a duplicate finds the reply.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, final

from trio_coap.messaging import records
from trio_coap.messaging.cache import D, MessageCache, message_id_of
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress, Message

if TYPE_CHECKING:
    from trio_coap.messaging.memory import Memory
    from trio_coap.messaging.remote import RemoteEndpointState


@final
class ReceivedCache(MessageCache[RcvdMessageCacheEntry]):
    """A mapping from message ID to entry, as every :class:`MessageCache`; entries of what is kept are made when asked for.

    Attributes:
      kept: the records, by message ID; see :mod:`trio_coap.messaging.records`.
      state: the remote endpoint's.
      identity: by which the memory knows the cache: with a message ID it makes a key; 0 before there is anything in it.
      repetitions: how often messages came again, by message ID.
    """

    __slots__ = ("_elsewhere", "_memory", "_usual_address", "identity", "kept", "repetitions", "state")

    def __init__(self, state: RemoteEndpointState, memory: Memory) -> None:
        """Make an empty cache.

        Args:
          state: the remote endpoint's.
          memory: of the local endpoint.
        """
        local = state.local
        super().__init__(
            state.endpoint,
            False,
            queue=local.queue,
            parameters=local.parameters,
            clock=local.clock,
            on_removed=state.received_removed,
        )
        self.state = state
        self._memory = memory
        self.identity = 0
        self.kept: dict[int, bytes] = {}
        self.repetitions: dict[int, int] = {}
        # Nearly all messages come to the same address of ours; of the others this says to which.
        self._usual_address: EndpointAddress | None = None
        self._elsewhere: dict[int, EndpointAddress | None] = {}

    def keep(self, entry: RcvdMessageCacheEntry, datagram: bytes, reply: bytes) -> None:
        """Make a record of an entry about which nothing more is to be done."""
        message_id = entry.message_id
        assert message_id is not None
        self.kept[message_id] = records.pack_header(entry.created_at, len(datagram)) + datagram + reply
        self.by_id.pop(message_id, None)
        entry.is_kept = True
        if entry.local_address is not self._usual_address:
            self._note_address(message_id, entry.local_address)

    def _note_address(self, message_id: int, local_address: EndpointAddress | None) -> None:
        self._elsewhere.pop(message_id, None)
        if len(self._elsewhere) == len(self.kept) - 1:
            # Nothing else that is kept relies on the usual one: it was a group's, or ours has changed.
            self._usual_address = local_address
        else:
            self._elsewhere[message_id] = local_address

    def revive(self, entry: RcvdMessageCacheEntry) -> None:
        """Let *entry* stand for its message, which is kept, because something is to be done about it."""
        message_id = entry.message_id
        assert message_id is not None
        self.kept.pop(message_id, None)
        self._elsewhere.pop(message_id, None)
        active = self.by_id.get(message_id)
        if active is not None:  # Made of the same record before.
            active.step_aside()
        self.by_id[message_id] = entry

    def has(self, entry: RcvdMessageCacheEntry) -> bool:
        """Return whether the message of *entry* is still remembered, and is not another one that has its ID by now."""
        message_id = entry.message_id
        assert message_id is not None
        record = self.kept.get(message_id)
        if record is not None:
            return entry.is_of_record(record)
        active = self.by_id.get(message_id)
        return active is not None and active.is_of_same_message(entry)

    def reply_of(self, message_id: int) -> bytes:
        """Return the datagram of the reply to a message that there must be; empty if it has none."""
        record = self.kept.get(message_id)
        return self.by_id[message_id].reply_octets if record is None else records.reply_of(record)

    def is_confirmable(self, message_id: int) -> bool:
        """Return whether the message with an ID, which there must be, is a CON."""
        record = self.kept.get(message_id)
        return self.by_id[message_id].is_confirmable if record is None else not record[records.HEADER_LENGTH] & 0x30

    def awaits_leisure(self, message_id: int) -> bool:
        """Return whether the message with an ID is a group request whose response waits for its moment."""
        entry = self.by_id.get(message_id)
        return entry is not None and entry.respond_at is not None

    def find(self, message_id: int) -> RcvdMessageCacheEntry | None:
        """Return the entry with a message ID, of a record one that is made now; None if there is none."""
        entry = self.by_id.get(message_id)
        if entry is None:
            record = self.kept.get(message_id)
            if record is not None:
                return self._entry_of(message_id, record)
        return entry

    def _entry_of(self, message_id: int, record: bytes) -> RcvdMessageCacheEntry:
        local_address = self._elsewhere.get(message_id, self._usual_address)
        return RcvdMessageCacheEntry.of_record(message_id, record, self.state, local_address)

    def creation_of(self, message_id: int) -> float | None:
        """Return when the message with an ID came, in seconds; None if there is none."""
        record = self.kept.get(message_id)
        if record is not None:
            return records.creation_of(record)
        entry = self.by_id.get(message_id)
        return None if entry is None else entry.created_at

    def may_forget(self, message_id: int, latest: float) -> bool:
        """Return whether a message with an ID came by *latest*, in seconds, and executing it twice does no harm."""
        record = self.kept.get(message_id)
        if record is not None:
            return records.is_harmless_since(record, latest)
        entry = self.by_id.get(message_id)
        return entry is not None and entry.created_at <= latest and entry.is_forgettable

    def forget(self, message_id: int) -> bool:
        """Remove the message with an ID, which there must be; who waits for an acknowledgement of it gets one.

        For the memory, which knows its place in the order.

        Returns:
          Whether it was a CON.
        """
        record = self.kept.pop(message_id, None)
        if record is None:
            entry = self.by_id[message_id]
            if entry.owes_acknowledgement:
                entry.reply()  # That makes a record of it.
                return self.forget(message_id)
            super()._remove(entry)
            self.repetitions.pop(message_id, None)
            return entry.is_confirmable
        if self.repetitions:
            self.repetitions.pop(message_id, None)
        if self._elsewhere:
            self._elsewhere.pop(message_id, None)
        self.state.records_removed(len(record) - records.HEADER_LENGTH)
        return not record[records.HEADER_LENGTH] & 0x30

    def clear(self) -> None:
        """Remove all messages."""
        for entry in self.all_entries():
            self._remove(entry)

    def abandon(self) -> None:
        """Remove all messages, because the endpoint closes: the memory has forgotten them already."""
        for entry in list(self.by_id.values()):
            super()._remove(entry)
        self.repetitions.clear()
        self._elsewhere.clear()
        if self.kept:
            sizes = [len(record) - records.HEADER_LENGTH for record in self.kept.values()]
            self.kept.clear()
            self.state.records_removed(sum(sizes), len(sizes))

    def _add(self, entry: RcvdMessageCacheEntry, *, is_pending: bool = True) -> None:
        message_id = entry.message_id
        assert message_id is not None
        if message_id in self.kept or self.by_id.setdefault(message_id, entry) is not entry:
            raise LocalProtocolError(f"message ID {message_id} is in the cache already")

    def _remove(self, entry: RcvdMessageCacheEntry) -> None:
        message_id = entry.message_id
        assert message_id is not None
        if entry.is_kept:
            self.forget(message_id)
        else:
            super()._remove(entry)
            self.repetitions.pop(message_id, None)
        self._memory.message_removed(self, message_id, entry.is_confirmable)

    # The mapping, for those who want to look at it.

    def _entries(self) -> dict[int, RcvdMessageCacheEntry]:
        """Return all entries, in the order in which their messages came."""
        kept = [self._entry_of(message_id, record) for message_id, record in self.kept.items()]
        entries = sorted([*kept, *self.by_id.values()], key=lambda entry: entry.created_at)
        return {entry.message_id: entry for entry in entries if entry.message_id is not None}

    def all_entries(self) -> list[RcvdMessageCacheEntry]:
        """Return all entries."""
        return list(self._entries().values())

    def get(self, key: int | Message, default: D | None = None) -> RcvdMessageCacheEntry | D | None:  # type: ignore[override]
        """Return the entry with the message ID *key*, or *default*."""
        entry = self.find(message_id_of(key))  # type: ignore[arg-type]
        return default if entry is None else entry

    def keys(self) -> KeysView[int]:
        """Return the message IDs."""
        return self._entries().keys()

    def values(self) -> ValuesView[RcvdMessageCacheEntry]:
        """Return the entries."""
        return self._entries().values()

    def items(self) -> ItemsView[int, RcvdMessageCacheEntry]:
        """Return the message IDs with their entries."""
        return self._entries().items()

    def __getitem__(self, key: int | Message) -> RcvdMessageCacheEntry:
        entry = self.find(message_id_of(key))  # type: ignore[arg-type]
        if entry is None:
            raise KeyError(key)
        return entry

    def __contains__(self, key: object) -> bool:
        message_id = message_id_of(key)
        return message_id in self.by_id or message_id in self.kept

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self.by_id) + len(self.kept)

    def __bool__(self) -> bool:
        return bool(self.kept or self.by_id)
