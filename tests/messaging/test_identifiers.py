"""Message IDs towards groups and members: none in common, and found without a look at all remotes."""

from __future__ import annotations

import contextlib
import math
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.messaging.engine import GROUP, OTHER, PEER, EngineEndpoint, get, make_engine
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import PendingLimitReached, SendLimitReached
from trio_coap.messaging.identifiers import IdentifierTable
from trio_coap.messaging.parameters import Limits, TransmissionParameters
from trio_coap.messaging.remote import MESSAGE_IDS
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.codes import ACK, CON, NON, RST, MessageType
from trio_coap.wire.message import Message

SECOND_GROUP = Endpoint(("224.0.1.188", 5683))
GROUPS = [GROUP, SECOND_GROUP]
REMOTES = [PEER, OTHER]
EAGER = TransmissionParameters(probing_rate=math.inf, nstart=2)


def counted(engine: EngineEndpoint) -> Counter[int]:
    """Count the IDs that are in the caches."""
    return Counter(message_id for state in engine.states() for message_id in state.sent_cache)


def assert_table_agrees(engine: EngineEndpoint) -> None:
    assert engine.known_groups.table is not None
    assert engine.known_groups.table.counts() == counted(engine)


def set_next(engine: EngineEndpoint, message_id: int, *remotes: Endpoint) -> None:
    for remote in remotes:
        engine.remote_state(remote)._next_message_id = message_id


def take_up(engine: EngineEndpoint, free: set[int]) -> None:
    """Send so much to one remote that only the IDs *free* are left."""
    for message_id in range(MESSAGE_IDS):
        if message_id not in free:
            engine.send(get(type=NON, message_id=message_id), PEER)


def test_a_group_request_passes_over_the_ids_of_everybody() -> None:
    engine = make_engine()
    set_next(engine, 7, PEER, OTHER, GROUP)
    engine.send(get(), PEER)
    engine.send(get(message_id=8), OTHER)
    assert engine.send(get(type=NON), GROUP).message_id == 9


def test_a_message_to_a_remote_passes_over_the_ids_of_groups() -> None:
    engine = make_engine()
    set_next(engine, 0xFFFF, *GROUPS, PEER)
    assert [engine.send(get(type=NON), group).message_id for group in GROUPS] == [0xFFFF, 0]
    assert engine.send(get(), PEER).message_id == 1


def test_remotes_may_have_ids_in_common_all_the_same() -> None:
    engine = make_engine()
    engine.send(get(type=NON), GROUP)
    set_next(engine, 7, PEER, OTHER)
    assert [engine.send(get(), remote).message_id for remote in REMOTES] == [7, 7]
    assert_table_agrees(engine)


def test_an_id_is_free_for_a_group_when_the_last_entry_that_has_it_is_gone() -> None:
    engine = make_engine()
    engine.send(get(type=NON), GROUP)
    set_next(engine, 7, PEER, OTHER)
    for remote in REMOTES:
        engine.send(get(), remote)
    for remote, following in [(PEER, 8), (OTHER, 7)]:
        engine.state_of(remote).sent_cache.clear()
        set_next(engine, 7, GROUP)
        assert engine.next_message_id(GROUP) == following


def test_who_speaks_to_no_group_has_no_table() -> None:
    engine = make_engine()
    engine.send(get(), PEER)
    assert engine.known_groups.table is None


def test_the_table_is_made_from_what_was_sent_before() -> None:
    engine = make_engine()
    engine.send(get(message_id=7), PEER)
    engine.send(get(message_id=7), OTHER)
    entry = engine.send(get(type=NON), GROUP)
    assert engine.known_groups.table is not None
    assert engine.known_groups.table.counts() == {7: 2, entry.message_id: 1}


def test_the_table_is_gone_with_the_last_group() -> None:
    engine = make_engine()
    engine.send(get(type=NON), GROUP)
    engine.now = 10.0
    engine.send(get(type=NON), SECOND_GROUP)
    engine.run_until(150.0)
    assert engine.known_remote(GROUP) is None
    assert_table_agrees(engine)
    engine.run_until(160.0)
    assert engine.known_groups.states == []
    assert engine.known_groups.table is None


def test_the_table_is_gone_with_the_endpoint() -> None:
    engine = make_engine()
    engine.send(get(), PEER)
    engine.send(get(type=NON), GROUP)
    engine.abandon()
    assert engine.known_groups.states == []
    assert engine.known_groups.table is None


def test_further_group_requests_look_into_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()
    engine.send(get(), PEER)
    engine.send(get(type=NON), GROUP)
    monkeypatch.setattr(EngineEndpoint, "states", None)
    sent = [engine.send(get(type=NON), group).message_id for group in GROUPS * 2]
    assert len(set(sent)) == len(sent), "looking into the caches would have raised, and no ID is used twice"


def test_the_only_free_id_is_found() -> None:
    engine = make_engine(parameters=EAGER)
    take_up(engine, {5})
    set_next(engine, 6, GROUP)
    assert engine.send(get(type=NON), GROUP).message_id == 5


def test_a_group_request_is_refused_when_every_id_is_in_use_towards_somebody() -> None:
    engine = make_engine(parameters=EAGER)
    take_up(engine, set())
    with pytest.raises(SendLimitReached, match="no message ID"):
        engine.send(get(type=NON), GROUP)
    assert engine.statistics().turned_away == {"message IDs besides groups": 1}
    assert engine.known_remote(GROUP) is None
    assert engine.known_groups.table is None


def test_a_message_is_refused_when_groups_have_all_the_ids_that_are_left() -> None:
    engine = make_engine(parameters=EAGER)
    take_up(engine, {5, 6})
    for _ in range(2):
        engine.send(get(type=NON), GROUP)
    with pytest.raises(SendLimitReached, match="no message ID"):
        engine.send(get(), PEER)
    assert engine.send(get(), OTHER).message_id not in {5, 6}


def test_an_id_that_comes_late_is_counted() -> None:
    engine = make_engine(parameters=EAGER)
    take_up(engine, set())
    engine.now = 1.0
    waiting = engine.send(get(), PEER)
    assert waiting.message_id is None
    # The group has one that the application chose, so that its state stays, and the refused request leaves a table.
    engine.send(get(type=NON, message_id=7), GROUP)
    with pytest.raises(SendLimitReached):
        engine.send(get(type=NON), GROUP)
    engine.run_until(145.5)
    assert waiting.message_id not in {None, 7}
    assert_table_agrees(engine)


def test_a_message_that_waits_goes_on_waiting_while_groups_have_the_ids() -> None:
    engine = make_engine(parameters=EAGER)
    take_up(engine, set())
    waiting = engine.send(get(), PEER)
    engine.send(get(type=NON, message_id=7), GROUP)
    state = engine.state_of(PEER)
    state.sent_cache._remove(state.sent_cache[7])
    waiting.process_timeout(0.0)
    assert waiting.message_id is None
    state.sent_cache._remove(state.sent_cache[8])
    waiting.process_timeout(0.0)
    assert waiting.message_id == 8


def test_what_supersedes_is_counted() -> None:
    engine = make_engine()
    engine.send(get(type=NON), GROUP)
    entry = engine.send(get("old"), PEER)
    entry.supersede(get("new"))
    engine.run_until(3.0)
    assert entry.newest.message_id != entry.message_id
    assert_table_agrees(engine)
    engine.state_of(PEER).sent_cache.clear()
    assert_table_agrees(engine)


def test_an_empty_table_has_every_id() -> None:
    assert IdentifierTable([]).next_free(0xFFFF) == 0xFFFF
    assert IdentifierTable([]).counts() == {}


class IdentifierMachine(RuleBasedStateMachine):
    """Messages to few remotes and groups, whose IDs start close to each other."""

    @initialize(
        seed=st.integers(0, 3), nstart=st.integers(1, 2), offsets=st.lists(st.integers(0, 2), min_size=4, max_size=4)
    )
    def make(self, seed: int, nstart: int, offsets: list[int]) -> None:
        parameters = TransmissionParameters(probing_rate=math.inf, nstart=nstart)
        self.engine = make_engine(seed=seed, parameters=parameters, limits=Limits(max_pending_per_remote=3))
        self.offsets = offsets
        self.entries: list[SentMessageCacheEntry] = []

    @rule(which=st.integers(0, 3), type=st.sampled_from([CON, NON]))
    def send(self, which: int, type: MessageType) -> None:
        destination = [*REMOTES, *GROUPS][which]
        if self.engine.known_remote(destination) is None:
            set_next(self.engine, (0xFFFE + self.offsets[which]) % MESSAGE_IDS, destination)
        with contextlib.suppress(PendingLimitReached):
            self.entries.append(self.engine.send(get(type=NON if destination in GROUPS else type), destination))

    @rule(index=st.integers(0, 1 << 16), type=st.sampled_from([ACK, RST]))
    def reply(self, index: int, type: MessageType) -> None:
        if self.entries:
            entry = self.entries[index % len(self.entries)]
            self.engine.hear(Message(type=type, message_id=entry.message_id), entry.destination_endpoint)

    @rule(index=st.integers(0, 1 << 16))
    def supersede(self, index: int) -> None:
        waiting = [entry for entry in self.entries if entry.is_outstanding]
        if waiting:
            waiting[index % len(waiting)].supersede(get("new"))

    @rule(index=st.integers(0, 1 << 16))
    def cancel(self, index: int) -> None:
        if self.entries:
            self.entries.pop(index % len(self.entries)).complete(self.engine.now)

    @rule(which=st.integers(0, 3))
    def forget(self, which: int) -> None:
        state = self.engine.known_remote([*REMOTES, *GROUPS][which])
        if state is not None:
            state.sent_cache.clear()

    @rule(delay=st.sampled_from([0.5, 5.0, 50.0, 150.0]))
    def wait(self, delay: float) -> None:
        self.engine.run_until(self.engine.now + delay)

    @rule()
    def abandon(self) -> None:
        self.engine.abandon()
        self.entries.clear()

    @invariant()
    def groups_have_no_id_in_common_with_anybody(self) -> None:
        counts = counted(self.engine)
        for group in GROUPS:
            state = self.engine.known_remote(group)
            assert state is None or all(counts[message_id] == 1 for message_id in state.sent_cache)

    @invariant()
    def the_table_agrees_with_the_caches(self) -> None:
        groups = self.engine.known_groups
        assert groups.states == [state for state in self.engine.states() if state.endpoint in GROUPS]
        if groups.states:
            assert_table_agrees(self.engine)
        else:
            assert groups.table is None


TestIdentifierMachine = IdentifierMachine.TestCase
TestIdentifierMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
