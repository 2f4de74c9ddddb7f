"""A message that a newer one supersedes (RFC 7641 section 4.5.2), and timers, on engines without a loop."""

from __future__ import annotations

import pytest

from tests.messaging.engine import OTHER, PEER, EngineEndpoint, Fate, make_engine
from trio_coap.messaging.errors import NetworkError, ResetReceived, SendLimitReached, TransmissionTimeout
from trio_coap.messaging.parameters import Limits
from trio_coap.messaging.sent import SentMessageCacheEntry, SentState
from trio_coap.messaging.timer import Timer
from trio_coap.wire.codes import ACK, CON, NON, RST, Code, MessageType
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Message, Request, Response


@pytest.fixture
def engine() -> EngineEndpoint:
    return make_engine()


def send(engine: EngineEndpoint, fate: Fate | None = None) -> SentMessageCacheEntry:
    return engine.send(Response(payload=b"old", token=b"t"), PEER, listener=fate)


def newer(payload: bytes = b"new") -> Response:
    return Response(payload=payload, token=b"t", type=CON)


def test_the_newer_message_goes_out_when_the_old_one_would_be_repeated(engine: EngineEndpoint) -> None:
    entry = send(engine)
    (old,) = engine.take()
    due = entry.time_due
    entry.supersede(newer(b"newer"))
    entry.supersede(newer())
    assert engine.take() == []
    assert due is not None
    engine.run_until(due)
    new = engine.take_one()
    assert (new.payload, new.token) == (b"new", b"t")
    assert new.message_id != old.message_id
    assert entry.state is SentState.COMPLETED
    heir = entry.newest
    assert (heir.transmissions, heir.attempts, heir.message_id) == (1, 2, new.message_id)
    assert heir.time_due == pytest.approx(due + 2 * due)
    assert engine.state_of(PEER).outstanding == 1


def test_the_attempts_and_the_time_to_giving_up_go_on_counting(engine: EngineEndpoint) -> None:
    fate = Fate()
    entry = send(engine, fate)
    for number in range(10):
        entry.newest.supersede(newer(b"%d" % number))
        engine.run_until(engine.now + 9)
    engine.run_until(92.9)
    assert fate.failures == []
    engine.run_until(93)
    assert len(engine.take()) == 5
    (error,) = fate.failures
    assert isinstance(error, TransmissionTimeout)
    assert (error.transmissions, error.elapsed) == (5, 93)
    assert engine.state_of(PEER).outstanding == 0


def test_an_acknowledgement_comes_before_the_newer_message_is_sent(engine: EngineEndpoint) -> None:
    fate = Fate()
    entry = send(engine, fate)
    old = engine.take_one()
    entry.supersede(newer())
    engine.hear(Message(type=ACK, message_id=old.message_id), PEER)
    assert len(fate.acknowledged) == 1
    engine.run_until(100)
    assert engine.take() == []
    assert entry.newest is entry


def test_a_late_acknowledgement_of_the_old_message_does_not_count(engine: EngineEndpoint) -> None:
    fate = Fate()
    entry = send(engine, fate)
    old = engine.take_one()
    entry.supersede(newer())
    engine.run_until(3)
    new = engine.take_one()
    engine.hear(Message(type=ACK, message_id=old.message_id), PEER)
    assert (fate.acknowledged, fate.failures) == ([], [])
    engine.hear(Message(type=ACK, message_id=new.message_id), PEER)
    assert len(fate.acknowledged) == 1
    # Both message IDs stay reserved for their lifetimes.
    assert engine.statistics().sent == 2
    engine.run_until(300)
    assert (engine.statistics().sent, engine.statistics().remotes, len(engine.queue)) == (0, 0, 0)


def test_a_late_reset_of_the_old_message_counts(engine: EngineEndpoint) -> None:
    fate = Fate()
    entry = send(engine, fate)
    old = engine.take_one()
    entry.supersede(newer())
    engine.run_until(3)
    engine.hear(Message(type=RST, message_id=old.message_id), PEER)
    assert [type(error) for error in fate.failures] == [ResetReceived]


def test_what_was_never_sent_is_replaced_on_the_spot(engine: EngineEndpoint) -> None:
    first = engine.send(Response(payload=b"first"), PEER)
    entry = send(engine)
    message_id = entry.message_id
    entry.supersede(newer())
    assert engine.statistics().pending == 1
    engine.take()
    engine.hear(Message(type=ACK, message_id=first.message_id), PEER)
    new = engine.take_one()
    assert (new.payload, new.message_id) == (b"new", message_id)
    assert entry.newest is entry


def test_completing_the_newest_entry_stops_it(engine: EngineEndpoint) -> None:
    entry = send(engine)
    entry.supersede(newer())
    engine.run_until(3)
    entry.newest.complete(engine.now)
    engine.take()
    engine.run_until(200)
    assert engine.take() == []
    assert engine.state_of(PEER).outstanding == 0


def test_without_a_free_message_id_the_old_message_is_repeated(
    engine: EngineEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = send(engine)
    old = engine.take_one()
    entry.supersede(newer())
    monkeypatch.setattr("trio_coap.messaging.remote.MESSAGE_IDS", 1)
    engine.run_until(3)
    assert engine.take_one() == old
    monkeypatch.undo()
    engine.run_until(9)
    assert engine.take_one().payload == b"new"


def test_what_is_kept_is_accounted_for_from_the_old_message_to_the_newest(engine: EngineEndpoint) -> None:
    counters = engine.counters
    entry = engine.send(Response(payload=bytes(500), token=b"t"), PEER)
    alone = entry.size
    entry.supersede(newer(bytes(900)))
    entry.supersede(newer(bytes(100)))
    assert counters.sent_octets == entry.size == alone + (4 + 1 + 1 + 100) + 100
    engine.run_until(3)
    heir = entry.newest
    # Of the old message header and token are kept, by which an ICMP error is known.
    assert (entry.size, len(entry.octets), entry.message.payload, entry.superseding) == (5, 5, b"", None)
    assert (counters.sent, counters.sent_octets) == (2, 5 + heir.size)
    heir.supersede(newer(bytes(700)))
    engine.hear(Message(type=ACK, message_id=heir.message_id), PEER)
    assert (heir.superseding, heir.size, counters.sent_octets) == (None, 5, 10)
    engine.run_until(300)
    assert (counters.sent, counters.sent_octets, len(engine.queue)) == (0, 0, 0)


def test_what_replaces_a_waiting_message_is_accounted_for(engine: EngineEndpoint) -> None:
    first = engine.send(Response(payload=b"first"), PEER)
    entry = send(engine)
    for size in (800, 20):
        entry.supersede(newer(bytes(size)))
        assert entry.size == len(entry.octets) + size
        assert engine.counters.sent_octets == first.size + entry.size
    entry.complete(0)
    assert engine.counters.sent_octets == first.size


def test_the_acknowledgement_tells_the_listener_what_was_not_sent_any_more(engine: EngineEndpoint) -> None:
    told: list[Message | None] = []

    class Listener(Fate):
        def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
            told.append(entry.superseding)

    entry = send(engine, Listener())
    message = newer()
    entry.supersede(message)
    engine.hear(Message(type=ACK, message_id=entry.message_id), PEER)
    assert told == [message]
    assert entry.superseding is None


@pytest.mark.parametrize("is_sent", [True, False])
def test_what_is_completed_cannot_be_superseded(is_sent: bool, engine: EngineEndpoint) -> None:
    if not is_sent:
        engine.send(Response(payload=b"first"), PEER)
    entry = send(engine)
    entry.complete(0)
    octets = engine.counters.sent_octets
    with pytest.raises(LocalProtocolError, match="completed"):
        entry.supersede(newer())
    assert engine.counters.sent_octets == octets


def test_a_forgotten_remote_has_no_slots_taken_by_what_was_superseded(engine: EngineEndpoint) -> None:
    entry = send(engine)
    entry.supersede(newer())
    engine.run_until(3)
    state = engine.state_of(PEER)
    state.sent_cache._remove(entry)
    assert state.outstanding == 1
    state.sent_cache._remove(entry.newest)
    assert state.outstanding == 0


def test_an_error_of_the_network_about_the_old_message_counts(engine: EngineEndpoint) -> None:
    fate = Fate()
    entry = send(engine, fate)
    old = entry.octets
    entry.supersede(newer())
    engine.run_until(3)
    assert engine.error_received(PEER, old, OSError(111, "refused"), 3)
    assert [type(error) for error in fate.failures] == [NetworkError]


def test_without_room_the_old_message_is_repeated() -> None:
    engine = make_engine(limits=Limits(max_sent=16))
    entry = send(engine)
    old = engine.take_one()
    for number in range(15):
        engine.send(Response(payload=b"%d" % number, token=b"o"), OTHER)
    engine.take()
    entry.supersede(newer())
    assert entry.time_due is not None
    engine.run_until(entry.time_due)
    assert old in engine.take()
    assert engine.statistics().sent == 16
    assert engine.statistics().turned_away["max_sent"] == 1


def submit(engine: EngineEndpoint, type: MessageType) -> SentMessageCacheEntry:
    return engine.remote_state(PEER).submit(Response(token=b"t", type=type), engine.now, is_solicited=True)


def test_probing_rate_does_not_hold_back_what_was_asked_for(engine: EngineEndpoint) -> None:
    for _ in range(5):
        submit(engine, NON)
    assert len(engine.take()) == 5


def test_notifications_leave_message_ids_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_coap.messaging.remote.MESSAGE_IDS", 32)
    engine = make_engine()
    for _ in range(30):
        submit(engine, NON)
    with pytest.raises(SendLimitReached, match="message IDs for responses"):
        submit(engine, NON)
    submit(engine, CON)
    engine.send(Request(Code.GET), PEER)
    assert engine.statistics().sent == 32


def test_a_timer_calls_once_each_time_it_is_started(engine: EngineEndpoint) -> None:
    called: list[float] = []
    timer = Timer(engine.queue, called.append)
    timer.start(5)
    timer.start(3)
    engine.run_until(10)
    assert called == [3]
    timer.start(12)
    timer.start(15)
    engine.run_until(20)
    assert called == [3, 15]
    timer.start(25)
    timer.stop()
    timer.stop()
    engine.run_until(30)
    assert called == [3, 15]
    assert len(engine.queue) == 0


def test_closing_stops_timers(engine: EngineEndpoint) -> None:
    called: list[float] = []
    timer = Timer(engine.queue, called.append)
    timer.start(5)
    engine.abandon()
    engine.run_until(10)
    timer.stop()
    assert called == []
    assert len(engine.queue) == 0
